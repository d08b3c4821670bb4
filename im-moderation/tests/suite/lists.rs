//! What a list's report says.

use im_moderation::words::{DropReason, Dropped, Level, Word, WordList};

#[test]
fn each_bad_line_is_reported_and_spoils_nothing() {
    let long = "长".repeat(129);
    let lines =
        format!("法轮功\n\n ** \n法輪功\n*法*轮*功*\n党\n1\n{long}\n法｜轮.功\nFUCK\n\u{3000}\n");
    let mut list = WordList::new();
    list.add_lines(&lines, Level::Refuse);
    let (filter, report) = list.build().unwrap();
    let dropped = |id, why| Dropped { id, why };
    assert_eq!(
        report.dropped,
        [
            dropped(2, DropReason::Empty),
            dropped(3, DropReason::OnlySymbols),
            dropped(4, DropReason::Duplicate(1)),
            dropped(6, DropReason::TooShort),
            dropped(7, DropReason::TooShort),
            dropped(8, DropReason::TooLong),
            dropped(9, DropReason::Duplicate(1)),
            dropped(11, DropReason::Empty),
        ]
    );
    assert_eq!((report.kept, filter.len()), (3, 3));
    assert_eq!(filter.scan("fuck").hits()[0].word, 10);
}

#[test]
fn the_same_word_at_another_level_is_no_duplicate() {
    let mut list = WordList::new();
    list.add_lines("bad", Level::Refuse);
    list.add_lines("bad", Level::Mask);
    let (_, report) = list.build().unwrap();
    assert_eq!(report.kept, 2);
}

#[test]
fn a_list_says_at_once_what_it_keeps() {
    let mut list = WordList::new();
    assert!(list.add(Word::new(1, "bad", Level::Refuse)));
    assert!(!list.add(Word::new(2, "BAD", Level::Refuse)));
    let report = list.report();
    assert_eq!((report.kept, report.dropped.len()), (1, 1));
    assert_eq!(list.build().unwrap().1, report);
}
