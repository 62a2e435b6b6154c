//! stub
use crate::secret::Secret;
#[derive(Debug, thiserror::Error)]
#[error("the origin refuses user or password")]
pub struct Denied;
pub struct Login;
pub fn is_challenge(description: &str) -> bool {
    description.contains("authmod=")
}
impl Login {
    pub fn new(_user: String, _password: Secret) -> Self {
        Self
    }
    pub fn next(&mut self, _description: &str, _random: u32) -> Result<String, Denied> {
        Err(Denied)
    }
}
