//! Images made present before a session takes its GPUs.

use std::path::Path;
use std::sync::Arc;

use super::docker::Heirs;
use super::event::Event;
use super::image::{VenvMaker, pull};
use super::launch::ReadyImage;
use super::run::{Began, Run};
use super::signals::Interrupt;
use super::trouble::Trouble;
use crate::cache::{Digest, Inputs, Verdict};
use crate::config::reference::{ManifestDigest, Reference};
use crate::graph::spec::{Image, Server};

/// The image of a server that needs none made: the simulated engine in any image's place, or the built-in one.
pub(super) fn at_hand(server: &Server) -> Option<ReadyImage> {
    (server.simulated.is_some() || server.image == Image::Builtin).then_some(ReadyImage::Builtin)
}

/// Makes the image of `server` present; `heirs` are for who comes to the container engine first.
pub(super) async fn ensure(
    run: Arc<Run>,
    maker: Arc<VenvMaker>,
    target: String,
    server: Arc<Server>,
    heirs: Arc<Heirs>,
) -> Result<ReadyImage, Trouble> {
    if let Some(image) = at_hand(&server) {
        return Ok(image);
    }
    let began = Began::now();
    run.say(Event::ImageStarted {
        target: target.clone(),
    });
    let say = run.speaker();
    let tell = |line: String| {
        say(Event::ImageProgress {
            target: target.clone(),
            line,
        });
    };
    let ensured = async {
        match &server.image {
            Image::Builtin => Ok(ReadyImage::Builtin),
            Image::Container { reference, digest } => {
                container(&run, (reference, digest.as_ref()), &heirs, tell).await
            }
            Image::Pypi { file, digest } => venv(&maker, &run.root.join(file), *digest, tell).await,
        }
    };
    let outcome = tokio::select! {
        outcome = ensured => outcome,
        () = run.interrupts.reached(Interrupt::Graceful) => Err(Trouble::own("interrupted")),
    };
    match &outcome {
        Ok(_) => {
            run.say(Event::ImageReady {
                target: target.clone(),
                elapsed_ms: began.elapsed_ms(),
            });
            record(&run, &target, server.image_inputs(), began);
        }
        Err(reason) => run.say(Event::ImageFailed {
            target: target.clone(),
            reason: reason.to_string(),
        }),
    }
    outcome
}

/// A container image, pulled unless the engine has it.
async fn container(
    run: &Run,
    (reference, digest): (&Reference, Option<&ManifestDigest>),
    heirs: &Heirs,
    tell: impl Fn(String),
) -> Result<ReadyImage, Trouble> {
    let pinned = digest.or_else(|| reference.digest());
    let digest = pinned.ok_or_else(|| Trouble::Own(format!("`{reference}` has no pin: run `sweep lock`")))?;
    let host = run.docker(heirs).await.map_err(Trouble::machinery)?;
    let images = run.store().dir().join("images");
    let pulled = pull::ensure(host.engine(), reference, digest, &images, |progress| {
        tell(progress.to_string());
    });
    match pulled.await {
        Ok(present) => Ok(ReadyImage::Container {
            image: present.name,
            host,
        }),
        Err(error) if error.is_machinery() => Err(Trouble::machinery(error)),
        Err(error) => Err(Trouble::own(error)),
    }
}

/// A virtual environment of exactly the requirements that were planned with.
async fn venv(
    maker: &VenvMaker,
    file: &Path,
    digest: Digest,
    tell: impl Fn(String),
) -> Result<ReadyImage, Trouble> {
    let venv = maker.ensure(file, |line| tell(line.to_owned())).await;
    let venv = venv.map_err(Trouble::own)?;
    if !Digest::of_file(file).is_ok_and(|now| now == digest) {
        return Err(Trouble::Own(format!(
            "`{}` changed while the build ran; start it again",
            file.display()
        )));
    }
    Ok(ReadyImage::Venv {
        root: venv.root,
        bin: venv.bin,
        python: venv.python,
    })
}

/// That an image was present once is kept for `why`; whether it is now, its maker looks for itself.
fn record(run: &Run, target: &str, inputs: Inputs, began: Began) {
    let known = run.store().lookup(&inputs.key()).is_ok_and(|hit| hit.is_some());
    if !known {
        let record = run.record(target.to_owned(), inputs, Verdict::Passed, began);
        if let Err(error) = run.publish(&record, &[]) {
            run.say(Event::Healed {
                what: format!("the record of `{target}` could not be kept: {error}"),
            });
        }
    }
}
