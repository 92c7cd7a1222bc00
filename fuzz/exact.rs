//! What must come back exactly. A `ping` carries anything, and reading a JSON float may change its last bit.

use serde::Serialize;
use serde_json::Value;

/// Whether a message has a float in it.
pub fn has_float<T: Serialize>(message: &T) -> bool {
    fn look(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(values) => values.iter().any(look),
            Value::Object(fields) => fields.values().any(look),
            Value::Null | Value::Bool(_) | Value::String(_) => false,
        }
    }
    serde_json::to_value(message).is_ok_and(|value| look(&value))
}
