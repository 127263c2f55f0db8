//! Models that are published in several places: what their authors trained lies in one repository, and the parts that they left
//! as they were in those of others. They are loaded one by one, each into its own place in the cache; the folder of the trained
//! part leads to the others, as [`crate::models::open_flamingo`] says.

use serde_json::Value;

use super::files::{self, RemoteFile};
use super::store::Store;
use super::{Hub, Plan, total};
use crate::error::{Error, Result};
use crate::models::catalogue::{Assembly, published};
use crate::models::open_flamingo::CLASS;
use crate::models::weights::TRAINED;
use crate::taps::CancelToken;

/// What a model's own repository lacks.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Names of folders with what is to be loaded for them.
    pub parts: Vec<(String, Plan)>,
    /// The config, which the hub doesn't have.
    pub config: Option<Value>,
}

/// How a model is put together, if it is one that is known to be published in several places.
pub(super) fn assembly(name: &str) -> Result<Option<Assembly>> {
    Ok(published()?.into_iter().find(|model| model.name == name).and_then(|model| model.assembly))
}

impl Hub {
    /// Asks what there is to load of a model that lies in several places.
    pub(super) fn ask_assembled(&self, name: &str, assembly: Assembly, cancel: &CancelToken) -> Result<Plan> {
        let about = self.about(name, cancel)?;
        let own = vec![about.named(TRAINED)?];
        let ask = |(folder, name): (String, String)| -> Result<(String, Plan)> {
            files::check_name(&folder)?;
            files::check_name(&name)?;
            Ok((folder, self.ask_one(&name, cancel)?.0))
        };
        let parts = assembly.parts.into_iter().map(ask).collect::<Result<Vec<_>>>()?;
        let others = Others { parts, config: Some(assembly.config) };
        self.plan(name, (about.commit, CLASS.to_owned()), own, others)
    }

    /// Where the parts of a model lie once they are loaded, as its folder has to show.
    pub(super) fn put_together(&self, plan: &Plan) -> Result<()> {
        let store = Store::new(&self.settings.cache, &plan.name);
        for (folder, part) in &plan.others.parts {
            store.lead_to(folder, &plan.commit, &part.name, &part.commit)?;
        }
        let Some(config) = &plan.others.config else { return Ok(()) };
        let text = serde_json::to_string_pretty(config)
            .map_err(|error| Error::unusable(error.to_string(), "reinstall the program"))?;
        crate::files::write(&store.snapshot(&plan.commit).join(files::CONFIG), text.as_bytes())
    }
}

impl Plan {
    /// This plan and those of its parts, in the order in which they are loaded.
    pub fn all(&self) -> impl Iterator<Item = &Plan> {
        self.others.parts.iter().map(|(_, part)| part).chain([self])
    }

    /// How many files there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all().map(|plan| plan.files.len()).sum()
    }
}

/// The length of `files` and of those of `others`, and how much of that isn't here.
pub(super) fn lengths(store: &Store, commit: &str, own: &[RemoteFile], others: &Others) -> Result<(u64, u64)> {
    let parts = || others.parts.iter().map(|(_, part)| part);
    let bytes = total(own.iter().map(|file| file.bytes).chain(parts().map(|part| part.bytes)))?;
    let missing = own.iter().map(|file| store.missing(file, commit)).chain(parts().map(|part| part.missing));
    Ok((bytes, total(missing)?))
}
