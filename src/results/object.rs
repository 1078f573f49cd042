//! JSON objects whose keys keep their order: benchmark files are read by people and compared line by line.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A JSON object whose keys stand in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// Sets a key, at its old place if it had one. A number that is not finite becomes null.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some(slot) => slot.1 = value,
            None => self.0.push((key, value)),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    object.set(key, value);
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_keep_their_order_and_the_last_value_counts() {
        let object: Object = serde_json::from_str(r#"{"b": 1, "a": [2.5], "b": null, "A": "x"}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            r#"{"b":null,"a":[2.5],"A":"x"}"#
        );
        assert_eq!(object.get("a").unwrap()[0], 2.5);
        assert_eq!(object.get("c"), None);
        assert!(serde_json::from_str::<Object>("[1]").is_err());
    }

    proptest! {
        #[test]
        fn numbers_survive_the_file(values in prop::collection::vec(0.0..1e6_f64, 1..20)) {
            let mut object = Object::default();
            for (index, value) in values.iter().enumerate() {
                object.set(format!("k{index}"), *value);
            }
            let read: Object = serde_json::from_str(&serde_json::to_string(&object).unwrap()).unwrap();
            prop_assert_eq!(read, object);
        }
    }
}
