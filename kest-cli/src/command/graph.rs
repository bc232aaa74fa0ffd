//! `kest graph`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};

use crate::Outcome;
use crate::entry::Shown;
use crate::file::Destination;
use crate::input::{self, Trusted, Unusable};
use crate::lineage::link;
use crate::output::Out;
use crate::picture::{Picture, dot, html, mermaid, svg};
use crate::store;
use crate::verdict::Answer;

/// Draw the lineage of a passport as a picture, or as a page to explore it with
///
/// Each entry with its operation, workload, trust and taints; along each edge what the earlier entry hands on. Denied,
/// failed and broken entries are marked. Without --anchors or --bundle nothing is verified, and all of it is only what
/// the passport claims. The page checks hashes, links and signatures itself in the browser that shows it, against the
/// anchors it was made with or others that its reader gives.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("trusted").multiple(true).args(["anchors", "bundle"]))]
pub(crate) struct Graph {
    /// File with the passport: a JSON array of compact JWS strings; `-` reads standard input
    passport: PathBuf,
    #[command(flatten)]
    trusted: Trusted,
    /// kest.toml with [verification.authority] and [trust.sources]; else the file in KEST_CONFIG, never ./kest.toml
    #[arg(long, value_name = "FILE", requires = "trusted")]
    config: Option<PathBuf>,
    /// What to write; by default what the name of --output ends with
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    destination: Destination,
}

const EXAMPLES: &str = "\
Examples:
  kest graph passport.json --anchors anchors.json --output lineage.html
  kest graph passport.json --format dot | dot -Tpdf > lineage.pdf
  kest graph - --format mermaid < passport.json

Exit codes: 0 drawn and nothing wrong found, 1 drawn, with a broken entry or a bad verdict, 2 usage error, unreadable \
input or unwritable output.";

/// The form of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Mermaid flowchart, for Markdown
    Mermaid,
    /// A graph in Graphviz's language
    Dot,
    /// A drawing, light or dark as its viewer
    Svg,
    /// One self-contained page, which also verifies
    Html,
}

impl Format {
    /// The most entries that are drawn.
    fn limit(self) -> usize {
        match self {
            Self::Mermaid | Self::Dot => 100_000,
            Self::Svg | Self::Html => 10_000,
        }
    }

    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        match ending.to_ascii_lowercase().as_str() {
            "mmd" | "mermaid" => Some(Self::Mermaid),
            "dot" | "gv" => Some(Self::Dot),
            "svg" => Some(Self::Svg),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

impl Graph {
    /// # Errors
    /// When something cannot be read or written. A broken passport is an outcome.
    pub(crate) fn run(self, out: &Out) -> Result<Outcome, Unusable> {
        let format = self.format.or_else(|| self.destination.path().and_then(Format::of)).ok_or_else(|| {
            Unusable(
                "no format is named; give --format mermaid, dot, svg or html, or an --output that ends with .mmd, \
                 .dot, .svg or .html"
                    .to_owned(),
            )
        })?;
        store::is_none(&self.passport)?;
        let passport = input::passport(&self.passport)?;
        let limit = format.limit();
        if passport.len() > limit {
            return Err(Unusable(format!(
                "the passport has {} entries, and no more than {limit} can be drawn so; `kest show` lists more, \
                 `kest verify` checks them",
                passport.len()
            )));
        }
        let texts: Vec<String> = passport.entries().map(str::to_owned).collect();
        let mut entries: Vec<Shown> =
            texts.iter().enumerate().map(|(index, jws)| Shown::read(index, jws)).collect();
        let parents = link(&mut entries);
        let answer = Answer::to(passport, &self.trusted, self.config.as_deref())?;
        let name = name(&self.passport);
        let picture = Picture::new(&name, &entries, &parents, answer.as_ref());
        let drawn = match format {
            Format::Mermaid => mermaid::draw(&picture),
            Format::Dot => dot::draw(&picture),
            Format::Svg => svg::draw(&picture),
            Format::Html => {
                let anchors = self.trusted.anchors_json()?;
                html::page(&picture, &texts, anchors.as_ref(), self.trusted.has_bundles())?
            }
        };
        self.destination.write(*out, &drawn)?;
        let broken = entries.iter().any(|entry| entry.problem.is_some());
        let refused = answer.is_some_and(|answer| !answer.accepted);
        Ok(if broken || refused { Outcome::Bad } else { Outcome::Good })
    }
}

/// The last part of a path: where a file lies is nobody's business who gets the picture.
fn name(path: &Path) -> String {
    match path.file_name() {
        Some(name) if path != Path::new("-") => name.to_string_lossy().into_owned(),
        Some(_) | None => "standard input".to_owned(),
    }
}
