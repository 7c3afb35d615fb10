//! `explain` over every recording in the repository.

use std::path::{Path, PathBuf};

use crate::program::run;

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings/phoenix");
    let mut files: Vec<PathBuf> =
        folder.read_dir().expect("recordings").map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() > 40, "{files:?}");
    files
}

#[test]
fn recordings_of_real_servers_are_decoded() {
    for file in recordings() {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let ended = run(&["explain", file.to_str().expect("UTF-8")]);
        let malformed = match name.as_str() {
            "raw_bad_binary" | "raw_bad_json" | "raw_bad_shape_array4" | "raw_bad_shape_object" => 1,
            // A frame that is no JSON was posted; the rest of the conversation is sound.
            "longpoll_raw" => 1,
            _ => 0,
        };
        assert_eq!(ended.code, Some(malformed.min(1)), "{name}: {ended:?}");
        assert_eq!(ended.stdout.matches("MALFORMED: ").count(), usize::try_from(malformed).expect("small"), "{name}");
        let rows = std::fs::read_to_string(&file).expect("readable").lines().count();
        assert!(ended.stdout.lines().count() >= rows, "{name}: a line a row at least");
    }
}

#[test]
fn frames_are_told_in_words() {
    let file = |name: &str| recordings().into_iter().find(|file| file.ends_with(name)).expect("it is there");
    let said = |name: &str| run(&["explain", file(name).to_str().expect("UTF-8")]).stdout;
    let binary = said("binary.jsonl");
    assert!(binary.contains(" #2 → ping room:lobby <3 bytes: 00 ff 10> [4/5]"), "{binary}");
    assert!(binary.contains(" #2 ← reply ok room:lobby <3 bytes: 00 ff 10> [4/5]"), "{binary}");
    let refused = said("vsn_abc.jsonl");
    assert!(refused.contains("← upgrade refused with HTTP 403"), "{refused}");
    let long_poll = said("longpoll.jsonl");
    assert!(long_poll.contains("→ ping room:lobby {\"batch\":2} [4/7]"), "{long_poll}");
    assert!(long_poll.contains("← shout room:lobby {\"s\":1} [-/-]"), "{long_poll}");
    assert!(!long_poll.contains("SFMyNTY"), "a token is shown: {long_poll}");
}
