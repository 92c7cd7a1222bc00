//! Whatever is written: cleaning never panics, and changes nothing the second time.
#![no_main]

use chorus_protocol::text::{comment, mentions, name, shown_name, title};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(once) = comment(text, 500) {
        assert!(once.chars().count() <= 500);
        assert_eq!(comment(&once, 500).as_deref(), Ok(&*once));
        for name in mentions(&once) {
            assert_eq!(mentions(&format!("@{name}")), [&*name]);
        }
    }
    for clean in [name, title] {
        if let Ok(once) = clean(text) {
            assert_eq!(clean(&once).as_deref(), Ok(&*once));
        }
    }
    assert!(!shown_name(Some(text), "u").is_empty());
});
