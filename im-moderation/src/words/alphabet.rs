//! The tables of one list: what each character is to its automaton, and where a word may start.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::fold::{self, Kind};

/// A letter that no word has.
pub(super) const OTHER: u16 = 0;
/// As if it weren't there.
pub(super) const INVISIBLE: u16 = 1;
/// Between letters.
pub(super) const BETWEEN: u16 = 2;
/// A letter or a symbol: [`fold::is_letter_here`].
pub(super) const WILD: u16 = 3;
/// More letters than one.
pub(super) const SEVERAL: u16 = 4;
/// The code of the first letter; others follow.
pub(super) const FIRST: u16 = 5;

/// Codes are also the automaton's characters, so they end where no character is.
const CODES_END: usize = 0xd800;
const PAGE: usize = 256;
const PAGES: usize = 0x11_0000 / PAGE;
/// Planes 0 to 3.
const PAGES_OF_LETTERS: usize = 0x4_0000 / PAGE;
/// Tags and selectors of variations, in plane 14.
const PAGES_UNSEEN: std::ops::Range<usize> = 0xe_0000 / PAGE..0xe_1000 / PAGE;

/// What there is to know of a code.
#[derive(Clone, Copy, Default)]
pub(super) struct Traits {
    /// Repeats are read as one.
    pub(super) repeats: bool,
    /// Of a script without spaces: no boundary is asked for.
    pub(super) is_unspaced: bool,
}

/// From characters to codes.
pub(super) struct Alphabet {
    codes: HashMap<char, u16>,
    traits: Vec<Traits>,
    index: Box<[u16]>,
    pages: Vec<[u16; PAGE]>,
    ascii: [u16; 128],
}

impl Alphabet {
    /// An alphabet of the classes given; `None` when they are too many to tell apart.
    pub(super) fn new(classes: &HashSet<char>) -> Option<Self> {
        if classes.len() + usize::from(FIRST) > CODES_END {
            return None;
        }
        let mut sorted: Vec<char> = classes.iter().copied().collect();
        sorted.sort_unstable();
        let numbered = sorted.iter().zip(FIRST..);
        let codes: HashMap<char, u16> = numbered.map(|(c, code)| (*c, code)).collect();
        let mut traits = vec![Traits::default(); usize::from(FIRST)];
        traits.extend(sorted.iter().map(|c| Traits {
            repeats: fold::repeats(*c),
            is_unspaced: fold::is_unspaced(*c),
        }));
        let mut alphabet = Self {
            codes,
            traits,
            index: vec![0; PAGES].into(),
            pages: Vec::new(),
            ascii: [OTHER; 128],
        };
        alphabet.fill();
        Some(alphabet)
    }

    fn fill(&mut self) {
        static ROLES: LazyLock<Vec<[Role; PAGE]>> = LazyLock::new(roles);
        self.pages = vec![[BETWEEN; PAGE], [INVISIBLE; PAGE]];
        self.index[PAGES_UNSEEN].fill(1);
        let mut known: HashMap<[u16; PAGE], u16> = HashMap::new();
        for (roles, index) in ROLES.iter().zip(&mut self.index) {
            let codes = roles.map(|role| match role {
                Role::Fixed(code) => code,
                Role::Class(class) => self.codes.get(&class).copied().unwrap_or(OTHER),
            });
            let next = u16::try_from(self.pages.len()).unwrap_or(0);
            *index = *known.entry(codes).or_insert_with(|| {
                self.pages.push(codes);
                next
            });
        }
        self.ascii
            .copy_from_slice(&self.pages[usize::from(self.index[0])][..128]);
    }

    /// The code of a folded letter.
    pub(super) fn of_letter(&self, letter: char) -> u16 {
        self.codes
            .get(&fold::class(letter))
            .copied()
            .unwrap_or(OTHER)
    }

    /// The code of any character.
    #[inline]
    pub(super) fn of(&self, c: char) -> u16 {
        let point = c as usize;
        if let Some(code) = self.ascii.get(point) {
            return *code;
        }
        let page = usize::from(self.index[point / PAGE]);
        self.pages[page][point % PAGE]
    }

    #[inline]
    pub(super) fn traits(&self, code: u16) -> Traits {
        self.traits[usize::from(code)]
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let codes = self.codes.capacity() * (size_of::<(char, u16)>() + 1);
        codes + size_of_val(&*self.traits) + size_of_val(&*self.index) + size_of_val(&*self.pages)
    }
}

/// What a character is to every list.
#[derive(Clone, Copy)]
enum Role {
    /// The same code in all.
    Fixed(u16),
    /// The code that the list has for this class.
    Class(char),
}

/// Of all characters of the planes that have letters. Elsewhere is nothing but what isn't
/// assigned, which is between letters, and what isn't seen.
fn roles() -> Vec<[Role; PAGE]> {
    let page = |page: usize| {
        std::array::from_fn(|at| {
            let point = u32::try_from(page * PAGE + at).ok();
            point
                .and_then(char::from_u32)
                .map_or(Role::Fixed(OTHER), role)
        })
    };
    (0..PAGES_OF_LETTERS).map(page).collect()
}

fn role(c: char) -> Role {
    match fold::fold(c) {
        Kind::Invisible => Role::Fixed(INVISIBLE),
        Kind::Symbol | Kind::Stop | Kind::Space | Kind::Line => Role::Fixed(BETWEEN),
        Kind::Wild => Role::Fixed(WILD),
        Kind::Letters(letters) => match letters.as_slice() {
            [letter] => Role::Class(fold::class(*letter)),
            _ => Role::Fixed(SEVERAL),
        },
    }
}

/// The last codes of a text.
#[derive(Clone, Copy, Default)]
pub(super) struct History {
    /// The last four, the last one lowest.
    recent: u64,
    /// The four before.
    older: u64,
}

impl History {
    #[inline]
    pub(super) fn push(&mut self, code: u16) {
        self.older = self.older << 16 | self.recent >> 48;
        self.recent = self.recent << 16 | u64::from(code);
    }

    /// The last code; 0 if there is none.
    #[inline]
    pub(super) fn last(self) -> u16 {
        self.recent as u16
    }

    /// The code so many places before the last one, less than eight.
    pub(super) fn back(self, places: usize) -> u16 {
        let four = if places < 4 { self.recent } else { self.older };
        (four >> (16 * (places % 4))) as u16
    }

    /// A key of the last `length` codes, at most eight.
    #[inline]
    fn key(self, length: usize) -> u64 {
        if length <= 4 {
            return self.recent & (u64::MAX >> (64 - 16 * length));
        }
        let older = self.older & (u64::MAX >> (128 - 16 * length));
        self.recent ^ older.wrapping_mul(0xff51_afd7_ed55_8ccd)
    }
}

/// Tells where no word starts, by its first one to six codes: a blocked Bloom filter.
///
/// Most of a harmless text never gets as far as the automaton, whose states lie all over memory.
pub(super) struct Starts {
    blocks: Box<[u64]>,
    /// Bit n: there are words of n + 1 codes, or with more at the last bit.
    lengths: u8,
    /// Words that begin with a letter of a spaced script, and want no boundary before it.
    open: bool,
    /// Words that end with one, and want no boundary behind it.
    open_end: bool,
}

impl Starts {
    /// So many codes make a beginning; shorter words are their own.
    pub(super) const LONGEST: usize = 6;
    /// 128 KiB, which fit into a core's own cache. 50,000 words set a tenth of the bits.
    const BLOCKS_LOG2: u32 = 14;
    /// Beginnings of two and four codes have a key of their own that tells whether they go on.
    const GOES_ON: u64 = 0x5bd1_e995_9e37_79b9;
    const AT_TWO: u8 = 0b10;
    const AT_FOUR: u8 = 0b1000;
    const AT_LONGEST: u8 = 1 << (Self::LONGEST - 1);
    /// Beginnings that the next codes will tell more about.
    pub(super) const PENDING: u8 = Self::AT_LONGEST - 1;

    pub(super) fn new() -> Self {
        Self {
            blocks: vec![0; 1 << Self::BLOCKS_LOG2].into(),
            lengths: 0,
            open: false,
            open_end: false,
        }
    }

    /// `is_open`: the word may begin within another one; `ends_open`: it may end so.
    pub(super) fn insert(&mut self, codes: &[u16], is_open: bool, ends_open: bool) {
        let length = codes.len().min(Self::LONGEST);
        self.lengths |= 1 << length >> 1;
        self.open |= is_open;
        self.open_end |= ends_open;
        let mut history = History::default();
        for (code, length_so_far) in codes[..length].iter().zip(1..) {
            history.push(*code);
            if length_so_far == 2 || (length_so_far == 4 && codes.len() > 4) {
                self.set(history.key(length_so_far) ^ Self::GOES_ON);
            }
        }
        if length > 0 {
            self.set(history.key(length));
        }
    }

    fn set(&mut self, key: u64) {
        let (block, bits) = Self::place(key);
        self.blocks[block] |= bits;
    }

    /// Whether words begin also where no boundary is.
    #[inline]
    pub(super) fn are_open(&self) -> bool {
        self.open
    }

    /// Whether words end also where no boundary is.
    #[inline]
    pub(super) fn are_open_at_the_end(&self) -> bool {
        self.open_end
    }

    /// How many of the last codes of `history` may be the beginning of a word, or all of it; the
    /// most, or 0. Bit n of `begun`: a word may begin with the last code but n; some of them are
    /// cleared.
    #[inline]
    pub(super) fn longest(&self, history: History, begun: &mut u8) -> usize {
        if *begun & Self::AT_TWO != 0 && !self.has(history.key(2) ^ Self::GOES_ON) {
            *begun &= !Self::AT_TWO;
        }
        let mut left = *begun & self.lengths;
        self.look_again(history, begun);
        while left != 0 {
            let length = left.ilog2() as usize + 1;
            if self.has(history.key(length)) {
                return length;
            }
            left &= !(1 << (length - 1));
        }
        0
    }

    /// The same within a word of ASCII that goes on at once with another letter: what is shorter
    /// than a beginning would be a whole word, and none ends here.
    #[inline]
    pub(super) fn longest_within(&self, history: History, begun: &mut u8) -> usize {
        if *begun & (Self::AT_FOUR | Self::AT_LONGEST) == 0 {
            return 0;
        }
        self.look_again(history, begun);
        let is_found = *begun & Self::AT_LONGEST != 0 && self.has(history.key(Self::LONGEST));
        if is_found { Self::LONGEST } else { 0 }
    }

    #[inline]
    fn look_again(&self, history: History, begun: &mut u8) {
        if *begun & Self::AT_FOUR != 0 && !self.has(history.key(4) ^ Self::GOES_ON) {
            *begun &= !Self::AT_FOUR;
        }
    }

    #[inline]
    fn has(&self, key: u64) -> bool {
        let (block, bits) = Self::place(key);
        self.blocks[block] & bits == bits
    }

    #[inline]
    fn place(key: u64) -> (usize, u64) {
        // The multiplier is 2^64 over the golden ratio; the upper bits are the good ones.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = |shift: u32| 1_u64 << (hash >> shift & 63);
        let block = (hash >> (64 - Self::BLOCKS_LOG2)) as usize;
        (block, bit(44) | bit(38) | bit(32))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_folding_says() {
        let alphabet = Alphabet::new(&HashSet::from(['a', '法'])).unwrap();
        for c in (0..0x11_0000).filter_map(char::from_u32) {
            let expected = match role(c) {
                Role::Fixed(code) => code,
                Role::Class(class) => alphabet.of_letter(class),
            };
            assert_eq!(alphabet.of(c), expected, "{c:?}");
        }
        assert!(alphabet.of('Ａ') >= FIRST);
    }
}
