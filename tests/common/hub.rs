//! A server on loopback that speaks the hub's protocol: what there is of a model, files with ranges, redirects to a store, and
//! whatever a test lets go wrong.

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// With what stands behind the question mark.
    pub path: String,
    /// By names in small letters.
    pub headers: BTreeMap<String, String>,
    /// How often this path was asked for before.
    pub before: usize,
}

impl Request {
    /// The byte from which on it is asked.
    pub fn from(&self) -> usize {
        let range = self.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |from| from.parse().expect("a number"))
    }

    pub fn is_for(&self, file: &str) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with(&format!("/{file}")))
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes after which the connection is cut.
    pub cut: Option<usize>,
    /// Whether the rest never comes, though the connection stays.
    pub stalls: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A content from the byte on that is asked for.
    pub fn part(request: &Request, content: &[u8]) -> Self {
        match request.from() {
            0 => Self::ok(content),
            from if from >= content.len() => Self::status(416),
            from => Self { status: 206, body: content[from..].to_vec(), ..Self::default() }
                .header("Content-Range", &format!("bytes {from}-{}/{}", content.len() - 1, content.len())),
        }
    }
}

/// A model's files.
#[derive(Clone, Default)]
pub struct Repository {
    pub name: String,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// A model that is opened here by its class, with weights that nobody opens.
    pub fn made_up(name: &str) -> Self {
        let weights: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let none = Self { name: name.to_owned(), files: BTreeMap::new() };
        none.with("config.json", r#"{"architectures": ["CLIPModel"]}"#)
            .with("tokenizer.json", "{}")
            .with("README.md", "Of no use here.")
            .with("pytorch_model.bin", "The same once more.")
            .with("model.safetensors", weights)
    }

    pub fn with(mut self, file: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(file.to_owned(), content.into());
        self
    }

    pub fn without(mut self, file: &str) -> Self {
        self.files.remove(file);
        self
    }

    /// What the hub says of it.
    pub fn listing(&self) -> serde_json::Value {
        let siblings = self.files.iter().map(|(name, content)| {
            let mut about = json!({ "rfilename": name, "size": content.len(), "blobId": git(content) });
            if is_large(name) {
                about["lfs"] = json!({ "sha256": sha256(content), "size": content.len(), "pointerSize": 135 });
            }
            about
        });
        let siblings = siblings.collect::<Vec<_>>();
        json!({ "id": self.name, "sha": COMMIT, "siblings": siblings })
    }

    /// The usual answer.
    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        if path == format!("/api/models/{}/revision/main", self.name) {
            return Reply::ok(self.listing().to_string());
        }
        let inner = path.strip_prefix(&format!("/{}/resolve/{COMMIT}/", self.name));
        match inner.and_then(|name| self.files.get(name)) {
            Some(content) => Reply::part(request, content),
            None => Reply::status(404),
        }
    }

    /// The name of a file's content in the cache.
    pub fn digits(&self, file: &str) -> String {
        let content = &self.files[file];
        if is_large(file) { sha256(content) } else { git(content) }
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn git(content: &[u8]) -> String {
    format!("{:x}", Sha1::new_with_prefix(format!("blob {}\0", content.len())).chain_update(content).finalize())
}

fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

/// The server. It ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    closed: Arc<AtomicBool>,
}

impl Server {
    /// Answers as `answer` says, one thread a connection.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let closed = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let (for_thread, until) = (Arc::clone(&seen), Arc::clone(&closed));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (answer, seen, until) = (Arc::clone(&answer), Arc::clone(&for_thread), Arc::clone(&until));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream, &seen) else { return };
                    let reply = answer(&request);
                    // The other side may be gone, which is what some tests are about.
                    let _gone = write(&stream, &reply);
                    while reply.stalls && !until.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                });
            }
        });
        Self { address, seen, closed }
    }

    /// A hub with these files.
    pub fn of(repository: &Repository) -> Self {
        let repository = repository.clone();
        Self::start(move |request| repository.answer(request))
    }

    /// The same, which stops in the middle of the weights when they are asked for first.
    pub fn stalling(repository: &Repository, cut: usize) -> Self {
        let repository = repository.clone();
        Self::start(move |request| {
            let stalls = request.is_for("model.safetensors") && request.before == 0;
            Reply { cut: stalls.then_some(cut), stalls, ..repository.answer(request) }
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("a lock").clone()
    }

    /// How often a file was asked for.
    pub fn count(&self, file: &str) -> usize {
        self.seen().iter().filter(|request| request.is_for(file)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // So that it looks.
        let _gone = TcpStream::connect(self.address);
    }
}

fn read(stream: &TcpStream, seen: &Mutex<Vec<Request>>) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_lowercase(), value.trim().to_owned()))
    });
    let headers = headers.collect();
    let mut seen = seen.lock().expect("a lock");
    let before = seen.iter().filter(|request| request.path == path).count();
    let request = Request { path, headers, before };
    seen.push(request.clone());
    Some(request)
}

fn write(mut stream: &TcpStream, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Something\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len())])?;
    stream.flush()?;
    if !reply.stalls {
        stream.shutdown(std::net::Shutdown::Write)?;
        // Until the other side has taken everything.
        (&mut stream).take(1).read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
