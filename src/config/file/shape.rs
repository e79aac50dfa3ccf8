//! What stands behind a key, of whatever kind it is.
//!
//! A value of the wrong kind is kept as it is and does not end the reading, so
//! that every fault can be told at once.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::locate::{Unreadable, unmask};

/// A value of any kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::config) enum Value {
    /// The key is not there.
    #[default]
    Absent,
    /// `~`, `null`, or nothing behind the key.
    Null,
    /// `true` or `false`; YAML 1.2 reads `on` and `off` as texts.
    Switch(bool),
    /// In its usual spelling: `0x10` is 16.
    Number(String),
    Text(String),
    List(Vec<Self>),
    Mapping(Vec<(String, Self)>),
}

/// A mapping with known keys, or whatever else stands there.
#[derive(Debug)]
pub(in crate::config) enum Shape<T> {
    Mapping(T),
    Other(Value),
}

impl<T> Default for Shape<T> {
    fn default() -> Self {
        Self::Other(Value::Absent)
    }
}

/// A mapping in the order of the file.
#[derive(Debug)]
pub(in crate::config) struct Entries<T>(pub(in crate::config) Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl From<serde_yaml::Error> for Unreadable {
    fn from(error: serde_yaml::Error) -> Self {
        Self {
            message: error.to_string(),
            at: error.location().map(|at| (at.line(), at.column())),
        }
    }
}

impl Value {
    /// Reads a text without asking which keys there are.
    pub(in crate::config) fn read(text: &str) -> Result<Self, Unreadable> {
        serde_yaml::from_str(text).map_err(Unreadable::from)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shape<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor(PhantomData))
    }
}

struct ShapeVisitor<T>(PhantomData<T>);

/// The scalars and lists of a visitor, which are all read by [`ValueVisitor`].
macro_rules! as_values {
    ($wrap:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok($wrap(Value::Null))
        }
        fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
            Ok($wrap(Value::Switch(on)))
        }
        fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(number.to_string())))
        }
        fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(number.to_string())))
        }
        fn visit_u128<E>(self, number: u128) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(number.to_string())))
        }
        fn visit_i128<E>(self, number: i128) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(number.to_string())))
        }
        fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
            Ok($wrap(Value::Number(format!("{number:?}"))))
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok($wrap(Value::Text(text.to_owned())))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            Ok($wrap(Value::List(values)))
        }
    };
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ShapeVisitor<T> {
    type Value = Shape<T>;

    as_values!(Shape::Other);

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let once = Once {
            map,
            seen: HashSet::new(),
        };
        T::deserialize(MapAccessDeserializer::new(once)).map(Shape::Mapping)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    as_values!(std::convert::identity);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            entries.push((unmask(&key), value));
        }
        Ok(Value::Mapping(entries))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, T>()? {
            entries.push((unmask(&key), value));
        }
        Ok(Entries(entries))
    }
}

/// A mapping whose second of two equal keys is passed over: the first pass over
/// the text has told of it, and serde would end the reading here.
struct Once<A> {
    map: A,
    seen: HashSet<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Once<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if self.seen.insert(key.clone()) {
                return seed.deserialize(StringDeserializer::new(key)).map(Some);
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
