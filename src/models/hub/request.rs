//! Requests that can be given up at once: each runs on a thread of its own and hands over what arrives piece by piece. One that
//! is given up may wait for its peer a while longer, but touches nothing.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};
use url::Url;

use super::retry::{Failure, Tried};
use crate::error::{Error, Result};
use crate::taps::CancelToken;

/// How long a peer may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether to stop.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Bytes that are handed over at once, at most.
const PIECE: usize = 256 << 10;
/// Pieces that may wait.
const PIECES: usize = 4;
const MOST_REDIRECTS: usize = 8;

/// What asks the hub.
#[derive(Clone)]
pub(super) struct Caller {
    agent: Agent,
    endpoint: Url,
    token: Option<String>,
}

/// What was answered, as far as it has come.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Whether the hub itself answers, not a store that it leads to.
    pub of_hub: bool,
    parts: Receiver<Part>,
}

enum Part {
    Head { status: u16, headers: HeaderMap, of_hub: bool },
    Piece(Vec<u8>),
    End,
    Broken(String),
}

impl Caller {
    pub fn new(endpoint: &str, token: Option<String>) -> Result<Self> {
        let refused = || {
            Error::unusable(
                format!("'{endpoint}' isn't the address of a hub"),
                "set HF_ENDPOINT to one such as https://huggingface.co",
            )
        };
        // With the slash at its end, paths are joined to it.
        let endpoint = Url::parse(&format!("{}/", endpoint.trim_end_matches('/'))).map_err(|_| refused())?;
        if !is_http(&endpoint) || !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(refused());
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here, where it is known who may see the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("alignscope/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(PATIENCE))
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_per_write(Some(PATIENCE));
        let here = matches!(endpoint.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        // No proxy leads to this machine itself.
        let config = if here { config.proxy(None) } else { config };
        Ok(Self { agent: config.build().into(), endpoint, token })
    }

    /// The address of the hub, without a slash at its end.
    pub fn address(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// Asks for what lies at `path` of the hub, from a byte on. Whatever status it has counts as an answer.
    pub fn get(&self, path: &str, from: u64, cancel: &CancelToken) -> Tried<Answer> {
        let url = self.endpoint.join(path).map_err(|error| Failure::again(error.to_string()))?;
        let (sender, parts) = sync_channel(PIECES);
        let caller = self.clone();
        let thread = std::thread::Builder::new().name("download".into());
        let thread = thread.spawn(move || {
            // Nobody listens any more: it was given up.
            if let Err(why) = caller.hand_over(url, from, &sender) {
                let _given_up = sender.send(Part::Broken(why));
            }
        });
        thread.map_err(|error| Failure::again(format!("no thread could be started: {error}")))?;
        match next(&parts, cancel)? {
            Part::Head { status, headers, of_hub } => Ok(Answer { status, headers, of_hub, parts }),
            Part::Broken(why) => Err(Failure::again(why)),
            Part::Piece(_) | Part::End => Err(Failure::again("no answer".into())),
        }
    }

    fn hand_over(&self, url: Url, from: u64, sender: &SyncSender<Part>) -> std::result::Result<(), String> {
        let (response, url) = self.follow(url, from)?;
        let (head, body) = response.into_parts();
        let of_hub = url.origin() == self.endpoint.origin();
        let mut gone = sender.send(Part::Head { status: head.status.as_u16(), headers: head.headers, of_hub }).is_err();
        let mut body = body.into_reader();
        while !gone {
            let mut piece = vec![0; PIECE];
            let count = body.read(&mut piece).map_err(|error| error.to_string())?;
            piece.truncate(count);
            gone = sender.send(if count == 0 { Part::End } else { Part::Piece(piece) }).is_err() || count == 0;
        }
        Ok(())
    }

    /// Goes where redirects lead. The token is told to the hub's own address alone.
    fn follow(&self, mut url: Url, from: u64) -> std::result::Result<(Response<Body>, Url), String> {
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(url.as_str());
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| error.to_string())?;
            let location = response.headers().get("location").filter(|_| response.status().is_redirection());
            let Some(location) = location else { return Ok((response, url)) };
            let target = location.to_str().ok().and_then(|location| url.join(location).ok());
            let target =
                target.filter(|target| is_http(target) && (url.scheme() == "http" || target.scheme() == "https"));
            // A signed address is as good as a token, so it isn't shown.
            url = target.ok_or("it leads to an address that can't be followed")?;
        }
        Err("it leads from one address to the next without end".into())
    }
}

impl Answer {
    /// The next piece, or `None` at the end.
    pub fn next(&self, cancel: &CancelToken) -> Tried<Option<Vec<u8>>> {
        match next(&self.parts, cancel)? {
            Part::Piece(piece) => Ok(Some(piece)),
            Part::End => Ok(None),
            Part::Broken(why) => Err(Failure::again(why)),
            Part::Head { .. } => Err(Failure::again("two answers".into())),
        }
    }

    /// All of it.
    pub fn text(self, most: usize, cancel: &CancelToken) -> Tried<Vec<u8>> {
        let mut text = Vec::new();
        while let Some(piece) = self.next(cancel)? {
            if text.len() + piece.len() > most {
                let remedy = "check HF_ENDPOINT, or try again later";
                return Err(Failure::Final(Error::unusable("the hub's answer is far too long", remedy)));
            }
            text.extend(piece);
        }
        Ok(text)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn next(parts: &Receiver<Part>, cancel: &CancelToken) -> Tried<Part> {
    loop {
        cancel.check().map_err(Failure::Final)?;
        match parts.recv_timeout(BETWEEN_LOOKS) {
            Ok(part) => return Ok(part),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::again("the connection broke off".into())),
        }
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}
