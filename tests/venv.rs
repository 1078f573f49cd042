//! `pypi:FILE` images, made for real from a wheel made here: no network is needed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod requirement;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use requirement::has_program;
use sweep::exec::image::{ImageError, InstallCause, Venv, VenvMaker, venv_key};
use sweep::exec::process::GuardBinary;
use tempfile::TempDir;

/// Writes a wheel with one module and one console script, and prints its SHA-256.
const MAKE_WHEEL: &str = r#"
import base64, hashlib, sys, zipfile
files = {
    "tinyengine.py": "def main():\n    print('tiny', 1)\n",
    "tinyengine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinyengine\nVersion: 1.0\n",
    "tinyengine-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tinyengine-1.0.dist-info/entry_points.txt": "[console_scripts]\ntinyengine = tinyengine:main\n",
}
record = "".join(
    f"{n},sha256={base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b'=').decode()},{len(t)}\n"
    for n, t in files.items())
files["tinyengine-1.0.dist-info/RECORD"] = record + "tinyengine-1.0.dist-info/RECORD,,\n"
path = sys.argv[1] + "/tinyengine-1.0-py3-none-any.whl"
with zipfile.ZipFile(path, "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
print(hashlib.sha256(open(path, "rb").read()).hexdigest())
"#;

fn has_python() -> bool {
    has_program("python3", "python3", &["-c", "import venv, ensurepip"])
}

struct Shop {
    folder: TempDir,
    sha256: String,
}

impl Shop {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let made = Command::new("python3")
            .args(["-c", MAKE_WHEEL])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self {
            folder,
            sha256: String::from_utf8(made.stdout).unwrap().trim().to_owned(),
        }
    }

    fn requirements(&self, sha256: &str) -> PathBuf {
        let file = self.folder.path().join(format!("{}.txt", &sha256[..8]));
        std::fs::write(&file, format!("tinyengine==1.0 --hash=sha256:{sha256}\n")).unwrap();
        file
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn maker(&self, images: &Path) -> VenvMaker {
        let wheels = self.folder.path().to_str().unwrap().to_owned();
        let own = [
            ("PIP_NO_INDEX".to_owned(), "1".to_owned()),
            ("PIP_FIND_LINKS".to_owned(), wheels),
        ];
        let guard = GuardBinary::at(env!("CARGO_BIN_EXE_sweep"));
        VenvMaker::new(guard, images.to_owned(), std::env::vars().chain(own))
    }
}

fn says(venv: &Venv) -> String {
    let said = Command::new(venv.bin.join("tinyengine"))
        .env_clear()
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap()
}

#[tokio::test]
async fn an_environment_is_made_once_and_made_again_when_it_is_broken() {
    if !has_python() {
        return;
    }
    let shop = Shop::new();
    let file = shop.requirements(&shop.sha256);
    let (one, two) = (shop.maker(&shop.images()), shop.maker(&shop.images()));
    let (mut said_one, mut said_two) = (Vec::new(), Vec::new());
    let (made, waited) = tokio::join!(
        one.ensure(&file, |line| said_one.push(line.to_owned())),
        two.ensure(&file, |line| said_two.push(line.to_owned())),
    );
    let made = made.unwrap();
    assert_eq!(made, waited.unwrap());
    assert_eq!(made.key, venv_key(&file).unwrap());
    assert!(made.python.starts_with("3."), "{}", made.python);
    assert_eq!(says(&made), "tiny 1\n");
    let installs = |said: &[String]| {
        said.iter()
            .filter(|line| line.starts_with("Successfully installed"))
            .count()
    };
    assert_eq!(installs(&said_one) + installs(&said_two), 1);
    assert!(
        said_one
            .iter()
            .chain(&said_two)
            .any(|line| line.starts_with("waiting for another sweep"))
    );

    let again = one
        .ensure(&file, |line| panic!("it is there: {line}"))
        .await
        .unwrap();
    assert_eq!(again, made);

    // The Python below it is gone, as after an upgrade of the machine; a killed run left a half-made one beside it.
    std::fs::remove_file(made.bin.join("python")).unwrap();
    symlink("/nowhere/python3", made.bin.join("python")).unwrap();
    std::fs::create_dir_all(made.root.with_file_name("build-9").join("lib")).unwrap();
    let rebuilt = one.ensure(&file, |_| {}).await.unwrap();
    assert_eq!(says(&rebuilt), "tiny 1\n");
    assert!(!made.root.with_file_name("build-9").exists());

    // A cache that was moved holds environments whose scripts name the old place.
    let moved = shop.folder.path().join("moved");
    std::fs::rename(shop.images(), &moved).unwrap();
    assert_eq!(
        says(&shop.maker(&moved).ensure(&file, |_| {}).await.unwrap()),
        "tiny 1\n"
    );
}

#[tokio::test]
async fn an_environment_whose_making_was_broken_off_is_made_by_the_next() {
    if !has_python() {
        return;
    }
    let shop = Shop::new();
    let file = shop.requirements(&shop.sha256);
    let maker = shop.maker(&shop.images());
    let (begun, mut has_begun) = tokio::sync::watch::channel(false);
    tokio::select! {
        made = maker.ensure(&file, |_| { begun.send_replace(true); }) => panic!("pip said nothing first: {made:?}"),
        _ = has_begun.wait_for(|begun| *begun) => {}
    }
    assert!(
        !shop
            .images()
            .join(venv_key(&file).unwrap().to_string())
            .join("venv")
            .exists()
    );
    assert_eq!(says(&maker.ensure(&file, |_| {}).await.unwrap()), "tiny 1\n");
}

#[tokio::test]
async fn failures_name_the_file_and_the_cause_and_publish_nothing() {
    if !has_python() {
        return;
    }
    let shop = Shop::new();
    let maker = shop.maker(&shop.images());
    let file = shop.requirements(&"0".repeat(64));
    let error = maker.ensure(&file, |_| {}).await.unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Install {
                cause: InstallCause::HashMismatch,
                ..
            }
        ),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("install {}: ", file.display())),
        "{message}"
    );
    assert!(message.contains("DO NOT MATCH"), "{message}");
    assert!(
        !shop
            .images()
            .join(venv_key(&file).unwrap().to_string())
            .join("venv")
            .exists()
    );

    let nowhere = [("PATH".to_owned(), "/nowhere".to_owned())];
    let guard = GuardBinary::at(env!("CARGO_BIN_EXE_sweep"));
    let error = VenvMaker::new(guard, shop.images(), nowhere)
        .ensure(&file, |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Python { .. }), "{error}");
}
