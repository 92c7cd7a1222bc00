//! Which components are loaded, which are refused, and the errors.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chorus_edge::component::{Bounds, LoadError, Logic, StartError, Supervisor};

use crate::built::session;

fn refusal(bytes: &[u8]) -> (LoadError, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("logic.wasm");
    fs::write(&path, bytes).expect("written");
    let error = Logic::load(&path, None, &Bounds::default()).expect_err("must be refused");
    let text = error.to_string();
    assert!(text.contains("logic.wasm"), "names the file: {text}");
    (error, text)
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a component")
}

#[test]
fn a_component_with_an_import_is_refused_by_its_name() {
    let component = component(
        r#"(component
             (import "wasi:clocks/wall-clock@0.2.6" (instance
               (export "resolution" (func (result u64)))))
             (import "test:greedy/files@0.1.0" (instance
               (export "read" (func (param "path" string) (result (list u8)))))))"#,
    );
    let (error, text) = refusal(&component);
    let LoadError::Imports { imports, .. } = error else {
        panic!("{error:?}");
    };
    let names = ["wasi:clocks/wall-clock@0.2.6", "test:greedy/files@0.1.0"];
    assert_eq!(imports, names);
    assert!(
        text.contains(&format!("imports {}", names.join(", "))),
        "{text}"
    );
}

#[test]
fn a_component_of_another_world_is_refused_with_what_is_missing() {
    let component = component(
        r#"(component
             (instance $nothing)
             (export "test:other/greeter@0.1.0" (instance $nothing)))"#,
    );
    let (error, text) = refusal(&component);
    assert!(matches!(error, LoadError::World { .. }), "{error:?}");
    assert!(
        text.contains("does not export chorus:edge/session@0.1.0"),
        "{text}"
    );
    assert!(
        text.contains("it exports test:other/greeter@0.1.0"),
        "{text}"
    );
}

/// A component that exports an interface with the right name; its functions have no parameters and return a number.
fn pretender(functions: &[&str]) -> Vec<u8> {
    let exports: String = functions
        .iter()
        .map(|name| format!("(export \"{name}\" (func $lifted))"))
        .collect();
    component(&format!(
        r#"(component
             (core module $m (func (export "f") (result i32) i32.const 7))
             (core instance $i (instantiate $m))
             (func $lifted (result u32) (canon lift (core func $i "f")))
             (instance $session {exports})
             (export "chorus:edge/session@0.1.0" (instance $session)))"#
    ))
}

#[test]
fn the_right_names_with_wrong_functions_are_refused() {
    let (_, text) = refusal(&pretender(&["init", "snapshot"]));
    assert!(text.contains("the function init of its"), "{text}");
    assert!(text.contains("takes 0 parameters instead of 2"), "{text}");
    let (_, text) = refusal(&pretender(&["snapshot", "stats"]));
    assert!(text.contains("lacks the function init"), "{text}");
    let all: Vec<String> = ["init", "handle", "snapshot", "restore", "stats"]
        .into_iter()
        .zip(["u32 u64", "u64 u32", "", "u32", ""])
        .map(|(name, parameters)| typed(name, parameters))
        .collect();
    let (error, text) = refusal(&wrap(&all.concat()));
    assert!(matches!(error, LoadError::World { .. }), "{error:?}");
    assert!(
        text.contains("session-component: it cannot be instantiated"),
        "{text}"
    );
}

/// A function with the right name and number of parameters, which are all numbers.
fn typed(name: &str, parameters: &str) -> String {
    let kinds: Vec<&str> = parameters.split_whitespace().collect();
    let params: String = kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| format!("(param \"p{n}\" {kind}) "))
        .collect();
    let core: String = kinds
        .iter()
        .map(|kind| if *kind == "u64" { "i64 " } else { "i32 " })
        .collect();
    let core = if core.is_empty() {
        core
    } else {
        format!("(param {core})")
    };
    format!(
        r#"(core module $m_{name} (func (export "f") {core} (result i32) i32.const 7))
           (core instance $i_{name} (instantiate $m_{name}))
           (func $f_{name} {params} (result u32) (canon lift (core func $i_{name} "f")))"#
    )
}

/// A component with functions of [`typed`] in an interface with the right name.
fn wrap(functions: &str) -> Vec<u8> {
    component(&format!(
        r#"(component {functions}
             (instance $session
               (export "init" (func $f_init)) (export "handle" (func $f_handle))
               (export "snapshot" (func $f_snapshot)) (export "restore" (func $f_restore))
               (export "stats" (func $f_stats)))
             (export "chorus:edge/session@0.1.0" (instance $session)))"#
    ))
}

#[test]
fn what_is_no_component_is_refused_as_what_it_is() {
    let cases: [(&[u8], &str); 5] = [
        (b"", "an empty file"),
        (b"#!/bin/sh", "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "a core WebAssembly module"),
        (b"\0asm\x63\0\x09\0", "WebAssembly of a version"),
        (b"\0asm\x0d\0\x01\0\xff\xff\xff", "cannot be compiled"),
    ];
    for (bytes, wanted) in cases {
        let (_, text) = refusal(bytes);
        assert!(text.contains(wanted), "{text}");
    }
    let nothing = Logic::load(Path::new("/no/such.wasm"), None, &Bounds::default());
    assert!(matches!(nothing, Err(LoadError::Read { .. })));
    let (_, empty) = refusal(b"\0asm\x0d\0\x01\0");
    assert!(empty.contains("it exports nothing"), "{empty}");
}

#[test]
fn a_configuration_it_cannot_read_does_not_start() {
    let logic = crate::built::logic(&session());
    let refused = Supervisor::new(logic.clone(), b"{", 1, Bounds::default());
    assert!(matches!(refused, Err(StartError::Init(_))));
    let bounds = Bounds {
        call_inputs_max: 0,
        ..Bounds::default()
    };
    let text = Supervisor::new(logic, b"{}", 1, bounds)
        .expect_err("out of range")
        .to_string();
    assert!(text.contains("call_inputs_max is 0"), "{text}");
}

fn only_entry(dir: &Path) -> PathBuf {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

#[test]
fn the_compiled_form_is_kept_for_this_user_and_mistrusted_otherwise() {
    let path = session();
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("nested").join("compiled");
    let load = || Logic::load(&path, Some(&cache), &Bounds::default()).expect("loads");
    let first = load();
    assert!(!first.from_cache());
    assert_eq!(first.digest().len(), 64);
    let mode = fs::metadata(&cache).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let entry = only_entry(&cache);

    let quickest = (0..5)
        .map(|_| {
            let since = Instant::now();
            assert!(load().from_cache());
            since.elapsed()
        })
        .min()
        .expect("five");
    println!("loaded from the cache in {quickest:?}");
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");

    let whole = fs::read(&entry).expect("the entry");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for corrupt in [&flipped[..], &whole[..whole.len() / 2], b""] {
        fs::write(&entry, corrupt).expect("written");
        assert!(!load().from_cache(), "compiled anew");
        assert_eq!(
            fs::read(&entry).expect("the entry"),
            whole,
            "and written over"
        );
    }
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o666)).expect("set");
    assert!(!load().from_cache(), "others could have written it");
    assert!(load().from_cache());
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("set");
    assert!(!load().from_cache(), "others could have put it there");
}
