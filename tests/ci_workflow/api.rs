//! The few questions of GitHub's REST API that the action asks, answered on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::{Value, json};

/// What the API knows of the pull request behind a commit.
#[derive(Debug, Clone)]
pub(crate) struct Merged {
    pulls: Value,
    /// As an address has it.
    branch: String,
    repository: String,
    artifacts: Value,
}

impl Merged {
    /// A merged pull request of a branch of `repository`, with results.
    pub(crate) fn of_branch(branch: &str, repository: &str) -> Self {
        Self {
            pulls: json!([{
                "merged_at": "2026-11-25T16:00:00Z",
                "head": { "ref": branch, "repo": { "full_name": repository } },
            }]),
            branch: branch.replace('/', "%2F").replace(' ', "%20").replace('&', "%26"),
            repository: repository.to_owned(),
            artifacts: json!([
                { "name": "sweep-plan-1", "expired": false },
                { "name": "sweep-results-1", "expired": false },
            ]),
        }
    }

    /// A commit that no pull request brought.
    pub(crate) fn none() -> Self {
        let mut none = Self::of_branch("none", "none/none");
        none.pulls = json!([]);
        none
    }

    /// Closed without being merged.
    pub(crate) fn closed(mut self) -> Self {
        self.pulls[0]["merged_at"] = Value::Null;
        self
    }

    pub(crate) fn with_artifacts(mut self, artifacts: Value) -> Self {
        self.artifacts = artifacts;
        self
    }
}

/// A server that answers by path and query. It ends with the test.
pub(crate) struct Api {
    address: SocketAddr,
}

impl Api {
    /// Knows the pull request behind every commit, and one run of it.
    pub(crate) fn of_pull_request(merged: &Merged, run: u64) -> Self {
        let runs = json!({ "workflow_runs": [
            { "id": run, "head_repository": { "full_name": merged.repository } },
        ]});
        let artifacts = json!({ "artifacts": merged.artifacts });
        let branch = &merged.branch;
        Self::serve(BTreeMap::from([
            ("/commits/*/pulls".to_owned(), merged.pulls.clone()),
            (
                format!("/actions/runs?event=pull_request&per_page=30&branch={branch}"),
                runs,
            ),
            (format!("/actions/runs/{run}/artifacts?per_page=100"), artifacts),
        ]))
    }

    pub(crate) fn that_fails() -> Self {
        Self::serve(BTreeMap::new())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(answers: BTreeMap<String, Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that went away is none of ours.
                let _ = stream.and_then(|stream| answer(stream, &answers));
            }
        });
        Self { address }
    }
}

/// Answers one request: what is known, else 404.
fn answer(mut stream: TcpStream, answers: &BTreeMap<String, Value>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let asked = first
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix("/repos/acme/bench"));
    // A commit's name is the test's own affair.
    let known = asked.and_then(
        |path| match path.starts_with("/commits/") && path.ends_with("/pulls") {
            true => answers.get("/commits/*/pulls"),
            false => answers.get(path),
        },
    );
    let (status, body) = match known {
        Some(value) => ("200 OK", value.to_string()),
        None => ("404 Not Found", json!({ "message": "Not Found" }).to_string()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
