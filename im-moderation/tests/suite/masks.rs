//! What is masked, and what only looks like it.

use std::borrow::Cow;

use im_moderation::mask::{Builtin, Keep, Masker, Rule};
use proptest::prelude::*;

fn masked(kind: Builtin, text: &str) -> String {
    Masker::none().with([kind]).mask(text).text.into_owned()
}

/// Each text becomes the other one.
fn check(kind: Builtin, texts: &[(&str, &str)]) {
    for (text, expected) in texts {
        assert_eq!(masked(kind, text), *expected, "{kind:?}");
    }
}

fn check_untouched(kind: Builtin, texts: &[&str]) {
    for text in texts {
        assert_eq!(masked(kind, text), *text, "{kind:?}");
    }
}

#[test]
fn chinese_numbers_are_masked() {
    check(
        Builtin::Phone,
        &[
            ("13812345678", "138****5678"),
            ("电话13812345678,谢谢", "电话138****5678,谢谢"),
            ("tel13812345678", "tel138****5678"),
            ("138 1234 5678", "138 **** 5678"),
            ("138-1234-5678", "138-****-5678"),
            ("+86 138 1234 5678", "+86 138 **** 5678"),
            ("+8613812345678", "+86138****5678"),
            ("0086-13812345678", "0086-138****5678"),
            ("１３８１２３４５６７８", "１３８****５６７８"),
            ("138\u{200b}12345678", "138\u{200b}****5678"),
            ("010-62345678", "010-****5678"),
            ("(0755) 2623 4567", "(0755) **** 4567"),
            ("02062345678", "020****5678"),
            ("13812345678 13912345678", "138****5678 139****5678"),
        ],
    );
}

#[test]
fn numbers_of_elsewhere_are_masked() {
    check(
        Builtin::Phone,
        &[
            ("+44 20 7946 0958", "+44 ** **** **58"),
            ("+14155552671", "+14*******71"),
            ("(977) 625-2661", "(***) ***-2661"),
            ("977-625-2661", "***-***-2661"),
            ("977.625.2661", "***.***.2661"),
            ("1-977-625-2661", "1-***-***-2661"),
            ("06 12 34 56 78", "06 ** ** ** 78"),
            ("07700 900123", "07*** ****23"),
            ("020 7946 0958", "020 **** 0958"),
        ],
    );
}

#[test]
fn other_numbers_are_no_telephones() {
    check_untouched(
        Builtin::Phone,
        &[
            "3348917502",
            "138123456789",
            "12812345678",
            "1381234567",
            "13812345678.50",
            "0.13812345678",
            "id a1f13812345678",
            "13812345678abc",
            "2019-11-06",
            "2019-11-06 12:30:45",
            "550e8400-e29b-41d4-a716-446655440000",
            "12-13812345678-9",
            "1,381,234,567",
            "+1234567",
            "git+20070601-1",
            "+2.6.24.12-16.34",
            "123-625-2661",
            "192.168.100.200",
            "order 20191106123456",
        ],
    );
}

#[test]
fn identity_cards_are_masked_when_their_check_digit_is_right() {
    check(
        Builtin::IdCard,
        &[
            ("11010519491231002X", "1101**********002X"),
            ("11010519491231002x。", "1101**********002x。"),
            ("110105 19491231 002X", "1101** ******** 002X"),
            (
                "１１０１０５１９４９１２３１００２Ｘ",
                "１１０１**********００２Ｘ",
            ),
            ("110105491231002", "1101*******1002"),
        ],
    );
    check_untouched(
        Builtin::IdCard,
        &[
            "110105194912310021",
            "110105194913310021",
            "990105194912310029",
            "1101051949123100212",
            "110105491331002",
            "110105-491231-002",
        ],
    );
}

#[test]
fn payment_cards_are_masked_when_their_check_digit_is_right() {
    check(
        Builtin::BankCard,
        &[
            ("4111 1111 1111 1111", "**** **** **** 1111"),
            ("4111-1111-1111-1111", "****-****-****-1111"),
            ("5500005555555559", "************5559"),
            ("3782 822463 10005", "**** ****** *0005"),
            ("6222021234567890128", "***************0128"),
            (
                "卡号：４１１１１１１１１１１１１１１１",
                "卡号：************１１１１",
            ),
        ],
    );
    check_untouched(
        Builtin::BankCard,
        &[
            "4111 1111 1111 1112",
            "1234 5678 9012 3452",
            "41111111111111110",
            "4111  1111  1111  1111",
            "0000 0000 0000 0000",
        ],
    );
}

#[test]
fn e_mail_addresses_are_masked() {
    check(
        Builtin::Email,
        &[
            ("zhang@example.com", "z****@example.com"),
            (
                "写给john.doe+x@mail.example.co.uk。",
                "写给j***.***+*@mail.example.co.uk。",
            ),
            ("<a@b.cn>", "<*@b.cn>"),
            (
                "ｚｈａｎｇ＠ｅｘａｍｐｌｅ．ｃｏｍ",
                "ｚ****＠ｅｘａｍｐｌｅ．ｃｏｍ",
            ),
            ("…a.b@c.de.", "…a.*@c.de."),
        ],
    );
    check_untouched(
        Builtin::Email,
        &[
            "@example.com",
            "a@b",
            "a@ b.com",
            "me @ home.com",
            "a@-b.com",
            "3@5.6",
            "@nick hello.com",
        ],
    );
}

#[test]
fn addresses_are_masked_from_the_street_on() {
    check(
        Builtin::Address,
        &[
            (
                "浙江省杭州市西湖区文三路478号3幢2单元502室，谢谢",
                "浙江省杭州市西湖区****************，谢谢",
            ),
            ("寄到中山北路1200号", "寄到*********"),
            ("朝阳区建国路9号", "朝阳区*****"),
            ("6821 1st ave", "**** *** ***"),
            (
                "742 Evergreen Terrace, Springfield",
                "*** ********* *******, Springfield",
            ),
            (
                "8865 lexington ave  la fayette, tx 86229",
                "**** ********* ***  la fayette, tx 86229",
            ),
            ("12 N. Main St. Apt 5b", "** *. **** **. *** **"),
            (
                "at 10 old mill lane, raleigh, mi 14573",
                "at ** *** **** ****, raleigh, mi 14573",
            ),
        ],
    );
    check_untouched(
        Builtin::Address,
        &[
            "沿这条路3号线",
            "路上有2个人",
            "第5号文件",
            "3 minutes way",
            "a 2 hour drive",
            "10 times better place",
            "2 of the court",
            "1 way",
        ],
    );
}

#[test]
fn machines_are_masked_when_asked_for() {
    check(
        Builtin::Ip,
        &[
            ("from 192.168.1.20.", "from ***.***.*.**."),
            ("fe80::1ff:fe23:4567:890a", "****::***:****:****:****"),
            ("[::1]:80", "[::*]:80"),
        ],
    );
    check_untouched(
        Builtin::Ip,
        &["1.2.3", "1.2.3.4.5", "256.1.1.1", "12:30:45", "v1.2.3.4x"],
    );
    assert!(Masker::default().mask("192.168.1.20").found.is_empty());
}

#[test]
fn a_rule_of_ones_own_comes_first_and_can_do_no_harm() {
    let orders = Rule {
        name: "order",
        find: |text| {
            let found = text.match_indices("138").map(|(at, _)| at..at + 11);
            found.chain([0..1000, 1..1, 1..2]).collect()
        },
        keep: Keep { first: 0, last: 2 },
    };
    let masker = Masker::default().rule(orders);
    let masked = masker.mask("号13812345678 a@b.cn");
    assert_eq!(masked.text, "号*********78 *@b.cn");
    let rules: Vec<_> = masked.found.iter().map(|found| found.rule).collect();
    assert_eq!(rules, ["order", "email"]);
}

#[test]
fn a_digit_is_a_part_of_one_find_only() {
    let masked = Masker::default().mask("+10000000 6200 0000 0000 0005, x");
    assert_eq!(masked.text, "+10****00 **** **** **** 0005, x");
    let rules: Vec<_> = masked.found.iter().map(|found| found.rule).collect();
    assert_eq!(rules, ["phone", "bank_card"]);
}

#[test]
fn what_holds_nothing_is_borrowed() {
    let masked = Masker::default().mask("nothing 12 here");
    assert!(matches!(masked.text, Cow::Borrowed(_)));
}

/// A number with its check digit, in one of the groupings of `lengths`.
fn luhn(start: &str, digits: &[u8], separator: &str) -> String {
    let mut number: Vec<u8> = start
        .bytes()
        .map(|b| b - b'0')
        .chain(digits.iter().copied())
        .collect();
    let sum = |number: &[u8]| -> u8 {
        let doubled = number.iter().rev().enumerate().map(|(at, d)| match at % 2 {
            0 => d * 2 % 10 + d * 2 / 10,
            _ => *d,
        });
        doubled.fold(0, |sum, d| (sum + d) % 10)
    };
    number.push((10 - sum(&number)) % 10);
    let groups: Vec<String> = number
        .chunks(4)
        .map(|group| group.iter().map(|d| char::from(d + b'0')).collect())
        .collect();
    groups.join(separator)
}

fn any_personal() -> impl Strategy<Value = String> {
    let separator = prop::sample::select(vec!["", " ", "-"]);
    prop_oneof![
        (
            "62|65|4[0-9]",
            prop::collection::vec(0u8..10, 13),
            separator
        )
            .prop_map(|(start, digits, sep)| { luhn(&start, &digits, sep) }),
        "1[3-9][0-9]{9}",
        "1[3-9][0-9] [0-9]{4} [0-9]{4}",
        "\\+[1-9][0-9]{7,14}",
        "\\([2-9][0-9]{2}\\) [2-9][0-9]{2}-[0-9]{4}",
        "[a-z][a-z0-9.]{0,8}[a-z]@[a-z]{1,8}\\.(com|cn|org)",
        "(东湖|人民|中山北)路[1-9][0-9]{1,3}号",
    ]
}

proptest! {
    #[test]
    fn what_was_masked_holds_nothing_to_mask(
        pieces in prop::collection::vec(
            (any_personal(), "[,，。:;你的 ]{1,3}| [a-z]{1,9} |, [0-9]{1,6}, "),
            0..6,
        ),
    ) {
        let text: String = pieces.into_iter().map(|(data, between)| data + &between).collect();
        let masker = Masker::default();
        let once = masker.mask(&text);
        let twice = masker.mask(&once.text);
        prop_assert_eq!(&twice.found, &[], "{:?} of {:?}", &once.text, &text);
    }

    #[test]
    fn personal_data_by_itself_is_masked(data in any_personal()) {
        let text = format!("这是 {data} ok");
        let masked = Masker::default().mask(&text);
        prop_assert_eq!(masked.found.len(), 1, "{:?}", &text);
        prop_assert!(!masked.text.contains(&data));
    }

    #[test]
    fn a_mask_changes_nothing_outside_of_what_was_found(
        text in "\\PC{0,40}[0-9 +@-]{0,20}\\PC{0,10}",
    ) {
        let masked = Masker::default().with([Builtin::Ip]).mask(&text);
        prop_assert_eq!(masked.text.chars().count(), text.chars().count());
        for ((at, before), after) in text.char_indices().zip(masked.text.chars()) {
            let is_found = masked.found.iter().any(|found| found.range.contains(&at));
            prop_assert!(before == after || (is_found && after == '*'), "{:?}", &text);
        }
    }
}
