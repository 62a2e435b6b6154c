//! stub
pub mod view;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Test,
    Auto,
}
#[derive(Clone, Debug)]
pub struct Options {
    pub seconds: Option<u64>,
    pub input: Input,
}
pub fn run(_options: Options) -> anyhow::Result<bool> {
    anyhow::bail!("not yet")
}
