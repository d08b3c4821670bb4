//! What a list costs: run in release, with `--ignored --nocapture`.

use std::time::Instant;

use im_core::model::{Body, Target, Value};

use crate::service::kit::{World, eventually, items};

/// Words of a large operator's list.
const WORDS: usize = 51_343;
/// Words in one call.
const PART: usize = 2_000;
/// Sends measured at once.
const SENDS: u32 = 20_000;

/// CPU of this process so far, in microseconds.
fn cpu_us() -> f64 {
    // The clock ticks 100 times a second (`getconf CLK_TCK`).
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(12) + ticks(13)) * 10_000.0
}

/// Different words of three letters of the commonest Chinese block.
fn word(n: usize) -> String {
    let letter = |n: usize| char::from_u32(0x4e00 + u32::try_from(n % 3_000).unwrap()).unwrap();
    [letter(n), letter(n / 7 + 500), letter(n / 2_000 + 1_000)]
        .iter()
        .collect()
}

async fn sends(world: &World, what: &str, words: &str) {
    let g = world.group("al", &[]).await;
    let body = Body::text(words).json().to_string();
    let before = cpu_us();
    for _ in 0..SENDS {
        let draft = world.draft(Target::Conversation(g.clone()), &body);
        world.send("al", &draft).await.unwrap();
    }
    let each = (cpu_us() - before) / f64::from(SENDS);
    println!("{what}: {each:.2} µs of CPU a send");
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_send_with_a_list_of_51343_words() {
    let world = World::new().await;
    let english = "See you at eight tonight, and bring the tickets; the train leaves at nine. ";
    let chinese = "明天下午三点在公司楼下的咖啡馆见面，记得带上合同和身份证复印件，谢谢大家。";
    let (english, chinese) = (english.repeat(2), chinese.repeat(2));
    for round in 0..3 {
        sends(&world, &format!("no words, English, {round}"), &english).await;
        sends(&world, &format!("no words, Chinese, {round}"), &chinese).await;
    }
    let began = Instant::now();
    let words: Vec<String> = (0..WORDS).map(word).collect();
    let mut kept = 0;
    for part in words.chunks(PART) {
        let params = format!(r#"{{"lines":"{}","level":"mask"}}"#, part.join("\\n"));
        let report = world.does("adm", "admin.words.import", &params).await;
        kept += report.get("kept").and_then(Value::as_int).unwrap();
        assert!(items(&report, "dropped").len() < PART);
    }
    println!("{kept} words imported in {:?}", began.elapsed());
    eventually(async || {
        let tried = world
            .does("adm", "admin.words.try", r#"{"text":"x"}"#)
            .await;
        tried.get("listed").and_then(Value::as_int) == Some(kept)
    })
    .await;
    println!("in force after {:?}", began.elapsed());
    for round in 0..3 {
        sends(&world, &format!("{kept} words, English, {round}"), &english).await;
        sends(&world, &format!("{kept} words, Chinese, {round}"), &chinese).await;
    }
}
