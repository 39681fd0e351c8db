use super::*;
use crate::meter::api::pointers;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u32>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "\\PC{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map("[a-d]|\\PC{0,4}", inner, 0..6)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn scanned(text: &[u8], size: usize) -> Option<Found> {
    let mut scan =
        Scan::new(&pointers(&[(Field::Input, "/a/b"), (Field::Model, "/c"), (Field::Output, "/d/1")]));
    text.chunks(size).for_each(|part| scan.push(part));
    scan.finish()
}

proptest! {
    #[test]
    fn every_object_is_read_as_a_reader_of_the_whole_reads_it(mut tree in json(), n in any::<u32>(), pretty in any::<bool>()) {
        if let Json::Object(map) = &mut tree {
            // Names that differ in case alone are one name here, and two to the other reader.
            map.retain(|name, _| name.bytes().all(|b| !b.is_ascii_uppercase()));
            map.insert("a".to_owned(), json!({ "x": [n], "b": n }));
        }
        prop_assume!(tree.is_object() || tree.is_array());
        let text = if pretty { serde_json::to_vec_pretty(&tree) } else { serde_json::to_vec(&tree) }.unwrap();
        let whole = scanned(&text, text.len()).unwrap();
        for size in 1..16 {
            let split = scanned(&text, size);
            prop_assert_eq!(split.as_ref(), Some(&whole));
        }
        prop_assert_eq!(whole.number(Field::Input), tree.is_object().then_some(u64::from(n)));
        prop_assert_eq!(whole.text(Field::Model), tree.get("c").and_then(Json::as_str));
        // A text that is cut anywhere is never taken for a whole one.
        for end in (0..text.len()).step_by(text.len() / 16 + 1) {
            prop_assert_eq!(scanned(&text[..end], 7), None);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..20) {
        prop_assert_eq!(scanned(&bytes, size), scanned(&bytes, bytes.len().max(1)));
    }
}

#[test]
fn nothing_is_kept_of_what_is_not_wanted() {
    let mut scan = Scan::new(&pointers(&[(Field::Model, "/c")]));
    scan.push(b"{\"x\":\"");
    for _ in 0..1_000 {
        scan.push(&[b'a'; 10_000]);
    }
    scan.push(b"\",\"c\":\"");
    scan.push(&[b'm'; 10_000]);
    scan.push(b"\"}");
    assert!(scan.token.capacity() < 4 * TOKEN);
    assert_eq!(scan.finish().unwrap().get(Field::Model), Some(&Value::Odd), "a name that long is none");
    let mut deep = Scan::new(&pointers(&[(Field::Model, "/c")]));
    deep.push(&[b'['; 100_000]);
    assert_eq!(deep.whole(), Whole::Never);
    assert!(deep.stack.capacity() <= 2 * DEPTH);
}
