//! `explain` over every recording in the repository.

use std::path::{Path, PathBuf};

use crate::program::run;

fn recordings(server: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings").join(server);
    let mut files: Vec<PathBuf> =
        folder.read_dir().expect("recordings").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() > 40, "{files:?}");
    files
}

#[test]
fn recordings_of_real_servers_are_decoded() {
    for file in recordings("phoenix").into_iter().chain(recordings("supabase")) {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let ended = run(&["explain", file.to_str().expect("UTF-8")]);
        let malformed = match name.as_str() {
            "raw_bad_binary" | "raw_bad_json" | "raw_bad_shape_array4" | "raw_bad_shape_object" => 1,
            // A frame that is no JSON was posted; the rest of the conversation is sound.
            "longpoll_raw" => 1,
            "bad_frames" => 7,
            _ => 0,
        };
        assert_eq!(ended.code, Some(malformed.min(1)), "{name}: {ended:?}");
        assert_eq!(ended.stdout.matches("MALFORMED: ").count(), usize::try_from(malformed).expect("small"), "{name}");
        let rows = std::fs::read_to_string(&file).expect("readable").lines().count();
        assert!(ended.stdout.lines().count() >= rows, "{name}: a line a row at least");
        // The beginning of every JWT and of every long-poll token.
        assert!(!ended.stdout.contains("eyJ") && !ended.stdout.contains("SFMyNTY"), "{name}: {}", ended.stdout);
    }
}

fn said(server: &str, name: &str) -> String {
    let file = recordings(server).into_iter().find(|file| file.ends_with(name)).expect("it is there");
    run(&["explain", file.to_str().expect("UTF-8")]).stdout
}

#[test]
fn frames_are_told_in_words() {
    let said = |name: &str| said("phoenix", name);
    let binary = said("binary.jsonl");
    assert!(binary.contains(" #2 → ping room:lobby <3 bytes: 00 ff 10> [4/5]"), "{binary}");
    assert!(binary.contains(" #2 ← reply ok room:lobby <3 bytes: 00 ff 10> [4/5]"), "{binary}");
    let refused = said("vsn_abc.jsonl");
    assert!(refused.contains("← upgrade refused with HTTP 403"), "{refused}");
    let long_poll = said("longpoll.jsonl");
    assert!(long_poll.contains("→ ping room:lobby {\"batch\":2} [4/7]"), "{long_poll}");
    assert!(long_poll.contains("← shout room:lobby {\"s\":1} [-/-]"), "{long_poll}");
}

#[test]
fn broadcasts_of_supabases_users_are_shown_with_their_events() {
    let said = |name: &str| said("supabase", name);
    let binary = said("broadcast_binary.jsonl");
    assert!(binary.contains("#17 → broadcast bin realtime:room1 <4 bytes: 00 01 02 ff> [6/7]"), "{binary}");
    assert!(binary.contains("#18 ← broadcast bin realtime:room1 <4 bytes: 00 01 02 ff> [-/-]"), "{binary}");
    let replayed = said("broadcast_replay.jsonl");
    let meta = r#"(meta {"id":"b7032e14-1dbd-42ce-b18f-fc056d50e080","replayed":true})"#;
    assert!(
        replayed.contains(&format!("← broadcast oldbin {meta} realtime:priv:rw:replay <2 bytes: 01 02>")),
        "{replayed}"
    );
    let token = said("access_token_refresh.jsonl");
    assert!(token.contains("→ broadcast e realtime:priv:rw:tok {} [6/8]"), "{token}");
    assert!(token.contains(r#"→ access_token realtime:priv:rw:tok {"access_token":"<redacted>"} [6/7]"#), "{token}");
    assert!(token.contains("upgrade /socket/websocket?apikey=<redacted>&vsn=2.0.0"), "{token}");
}
