//! Levels, the allow-list, masks and hot reload.

use std::borrow::Cow;

use im_moderation::words::{Filter, Level, Verdict, Word, WordList};

fn filter(words: &[(&str, Level)]) -> Filter {
    let mut list = WordList::new();
    for ((word, level), id) in words.iter().zip(1..) {
        list.add(Word::new(id, *word, *level));
    }
    list.build().unwrap().0
}

#[test]
fn the_strictest_level_is_the_verdict() {
    let filter = filter(&[
        ("one", Level::Mask),
        ("two", Level::Review),
        ("three", Level::Refuse),
        ("four", Level::Allow),
    ]);
    for (text, verdict) in [
        ("", Verdict::Clean),
        ("four and more", Verdict::Clean),
        ("one", Verdict::Mask),
        ("two one", Verdict::Review),
        ("one three two", Verdict::Refuse),
    ] {
        assert_eq!(filter.scan(text).verdict(), verdict, "{text:?}");
    }
}

#[test]
fn of_words_that_are_spelled_alike_the_strictest_counts() {
    let filter = filter(&[
        ("bad", Level::Mask),
        ("BAD", Level::Refuse),
        ("bad", Level::Review),
    ]);
    let scan = filter.scan("so bad");
    assert_eq!(scan.verdict(), Verdict::Refuse);
    assert_eq!(scan.hits().len(), 1);
    assert_eq!(scan.hits()[0].word, 2);
}

#[test]
fn an_allowed_word_covers_what_is_in_it() {
    let mut list = WordList::new();
    list.add(Word::new(1, "cunt", Level::Refuse).inside());
    list.add(Word::new(2, "轮奸", Level::Refuse));
    list.add(Word::new(3, "Scunthorpe", Level::Allow));
    list.add(Word::new(4, "车轮奸细", Level::Allow));
    list.add(Word::new(5, "bad", Level::Refuse));
    list.add(Word::new(6, "bad", Level::Allow));
    let (filter, _) = list.build().unwrap();
    assert_eq!(
        filter
            .scan("in Scunthorpe, sc.unthorpe, 车轮奸细, bad")
            .hits(),
        []
    );
    let scan = filter.scan("Scunthorpe cunt 轮奸");
    let hits: Vec<_> = scan
        .hits()
        .iter()
        .map(|hit| (hit.word, hit.range.clone()))
        .collect();
    assert_eq!(hits, [(1, 11..15), (2, 16..22)]);
}

#[test]
fn a_mask_has_one_mark_for_each_character() {
    let filter = filter(&[
        ("法轮功", Level::Mask),
        ("轮功大法", Level::Refuse),
        ("shit", Level::Review),
    ]);
    for (text, masked) in [
        ("练法轮功的", "练***的"),
        ("法-轮-功!", "*****!"),
        ("法轮功大法好", "*****好"),
        ("é sh\u{301}it é", "é ***** é"),
    ] {
        assert_eq!(filter.scan(text).masked('*'), masked);
    }
    let clean = filter.scan("nothing here");
    assert!(matches!(clean.masked('*'), Cow::Borrowed("nothing here")));
    assert_eq!(filter.scan("shit").masked('█'), "████");
}

#[test]
fn overlapping_words_are_all_hits() {
    let filter = filter(&[
        ("法轮", Level::Mask),
        ("法轮功", Level::Refuse),
        ("轮功", Level::Review),
    ]);
    let scan = filter.scan("x法轮功x");
    let hits: Vec<_> = scan
        .hits()
        .iter()
        .map(|hit| (hit.word, hit.piece))
        .collect();
    assert_eq!(hits, [(1, "法轮"), (2, "法轮功"), (3, "轮功")]);
}

#[test]
fn a_scan_goes_on_with_the_filter_it_began_with() {
    use std::sync::RwLock;
    let current = RwLock::new(filter(&[("old", Level::Refuse)]));
    let held = current.read().unwrap().clone();
    let scan = held.scan("old and new");
    let swap = || *current.write().unwrap() = filter(&[("new", Level::Mask)]);
    std::thread::scope(|scope| scope.spawn(swap).join()).unwrap();
    assert_eq!(scan.verdict(), Verdict::Refuse);
    assert_eq!(held.scan("new old").verdict(), Verdict::Refuse);
    let after = current.read().unwrap().scan("old and new").verdict();
    assert_eq!(after, Verdict::Mask);
}

#[test]
fn an_empty_filter_finds_nothing() {
    let filter = Filter::empty().unwrap();
    assert!(filter.is_empty());
    assert_eq!(filter.scan("anything").verdict(), Verdict::Clean);
}

#[test]
fn the_words_of_one_level_are_masked_alone() {
    let filter = filter(&[("one", Level::Mask), ("two", Level::Review)]);
    let scan = filter.scan("one, two, one");
    let masked = scan.masked_where('*', |level| level == Level::Mask);
    assert_eq!(masked, "***, two, ***");
    assert_eq!(scan.masked('*'), "***, ***, ***");
    let scan = filter.scan("two");
    let masked = scan.masked_where('*', |level| level == Level::Mask);
    assert!(matches!(masked, Cow::Borrowed("two")));
}
