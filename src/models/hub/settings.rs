//! Where the hub is, where its cache lies and with which token it is asked: what the environment says, read as Python's
//! `huggingface_hub` reads it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::super::cache;
use super::super::checkpoint::read_text;
use crate::error::{Error, Result};

const USUAL_ENDPOINT: &str = "https://huggingface.co";

/// Where things are, and with which token the hub is asked.
#[derive(Clone)]
pub struct Settings {
    /// The address of the hub.
    pub endpoint: String,
    /// What says who asks.
    pub token: Option<String>,
    /// The folder of the cache.
    pub cache: PathBuf,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token is nobody's business, not even a log's.
        let token = self.token.as_ref().map(|_| "…");
        let Self { endpoint, cache, .. } = self;
        formatter
            .debug_struct("Settings")
            .field("endpoint", endpoint)
            .field("token", &token)
            .field("cache", cache)
            .finish()
    }
}

impl Settings {
    /// As the environment says.
    ///
    /// # Errors
    /// If it says to stay offline, if there is no place for the cache, or if the token can't be one.
    pub fn from_environment() -> Result<Self> {
        Self::read(&|variable| std::env::var_os(variable))
    }

    fn read(variable: &cache::Lookup<'_>) -> Result<Self> {
        check_online(variable)?;
        let cache = cache::root_by(variable).ok_or_else(|| {
            Error::unusable("there is no place for downloaded models", "set HF_HUB_CACHE to a folder for them")
        })?;
        let endpoint = text(variable, "HF_ENDPOINT").unwrap_or_else(|| USUAL_ENDPOINT.to_owned());
        Ok(Self { endpoint, token: token(variable)?, cache })
    }
}

/// Refuses to ask where the environment says to stay offline.
fn check_online(variable: &cache::Lookup<'_>) -> Result<()> {
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        if is_set(variable, name) {
            return Err(Error::unusable(
                format!("{name} is set, so nothing is downloaded"),
                format!("unset {name} to download, or open a folder that is here"),
            ));
        }
    }
    Ok(())
}

/// The token: `HF_TOKEN`, or the file that `HF_TOKEN_PATH` names, or `token` in the folder of Hugging Face, where
/// `hf auth login` puts it.
fn token(variable: &cache::Lookup<'_>) -> Result<Option<String>> {
    if is_set(variable, "HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    let file = || {
        let named = text(variable, "HF_TOKEN_PATH").map(PathBuf::from);
        let path = named.or_else(|| cache::home_by(variable).map(|home| home.join("token")))?;
        Some(String::from_utf8_lossy(&read_text(&path).ok()?).trim().to_owned())
    };
    let found = text(variable, "HF_TOKEN").or_else(file).filter(|token| !token.is_empty());
    match found {
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(Error::unusable(
            "the token for the hub holds characters that no token has",
            "log in anew with `hf auth login`, or correct HF_TOKEN",
        )),
        found => Ok(found),
    }
}

/// Where a person puts a token.
pub(super) fn token_place() -> String {
    let file = cache::home_by(&|variable| std::env::var_os(variable)).map(|home| home.join("token"));
    let named = std::env::var_os("HF_TOKEN_PATH").map(PathBuf::from).or(file);
    named.map_or_else(String::new, |path| format!(" or into {}", path.display()))
}

fn text(variable: &cache::Lookup<'_>, name: &str) -> Option<String> {
    let value: OsString = variable(name)?;
    Some(value.to_string_lossy().trim().to_owned()).filter(|value| !value.is_empty())
}

fn is_set(variable: &cache::Lookup<'_>, name: &str) -> bool {
    text(variable, name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_environment_is_read_as_python_reads_it() -> std::io::Result<()> {
        let home = tempfile::tempdir()?;
        let place = home.path().to_string_lossy().into_owned();
        std::fs::write(home.path().join("token"), "hf_of_home\n")?;
        std::fs::write(home.path().join("other"), "hf_other")?;
        let other = home.path().join("other").to_string_lossy().into_owned();

        let usual = read(&[("HF_HOME", &place)]).expect("settings");
        assert_eq!(usual.endpoint, "https://huggingface.co");
        assert_eq!(usual.token.as_deref(), Some("hf_of_home"));
        assert_eq!(usual.cache, home.path().join("hub"));
        assert!(!format!("{usual:?}").contains("hf_of_home"), "a token is told to nobody");

        let named = read(&[("HF_HOME", &place), ("HF_TOKEN_PATH", &other), ("HF_HUB_CACHE", "/elsewhere")]);
        let named = named.expect("settings");
        assert_eq!((named.token.as_deref(), named.cache), (Some("hf_other"), PathBuf::from("/elsewhere")));
        let first = read(&[("HF_HOME", &place), ("HF_TOKEN", " hf_first "), ("HF_ENDPOINT", "http://mirror")]);
        let first = first.expect("settings");
        assert_eq!((first.token.as_deref(), first.endpoint.as_str()), (Some("hf_first"), "http://mirror"));
        let none = read(&[("HF_HOME", &place), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).expect("settings");
        assert_eq!(none.token, None);

        let offline = read(&[("HF_HOME", &place), ("HF_HUB_OFFLINE", "yes")]).expect_err("offline").to_string();
        assert!(offline.contains("HF_HUB_OFFLINE is set"), "{offline}");
        assert!(read(&[("HF_HOME", &place), ("HF_HUB_OFFLINE", "0")]).is_ok());
        let strange = read(&[("HF_HOME", &place), ("HF_TOKEN", "hf_a\r\nX: b")]).expect_err("no token").to_string();
        assert!(!strange.contains("hf_a"), "{strange}");
        Ok(())
    }
}
