//! stub
pub fn lines(status: &crate::status::Status) -> Vec<String> {
    vec![format!("{status:?}")]
}
