//! What hostmux answered, key by key: what is not there is nothing.

use serde_json::Value;

/// A text; empty where there is none.
pub(in crate::cli) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number; 0 where there is none.
pub(in crate::cli) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A list; empty where there is none.
pub(in crate::cli) fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
