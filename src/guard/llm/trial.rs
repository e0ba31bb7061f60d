//! The examples of the house's categories that are criteria in words: the guard model has to tell them apart.

use std::sync::Arc;
use std::time::Duration;

use super::script::Script;
use super::{LlmGuard, Scores};
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};
use crate::guard::check::Control;
use crate::guard::policy::Policy;
use crate::guard::taxonomy::Category;
use crate::guard::verdict::{Action, Side};

/// Time for one example.
const EACH: Duration = Duration::from_secs(600);

/// One category's examples.
pub(super) struct Trial {
    id: Arc<str>,
    category: Category,
    side: Side,
    threshold: f32,
    matches: Vec<String>,
    passes: Vec<String>,
}

impl Trial {
    /// Those of a policy. They are tried on the output side, where the category acts there, else on the input side.
    pub(super) fn of(policy: &Policy) -> Vec<Self> {
        let acts = |category: Category, side: Side| policy.setting(category, side).action != Action::Allow;
        let words = (0u8..).zip(policy.custom()).filter(|(_, c)| c.criteria.is_some() && !c.has_rules());
        let trial = |(place, custom): (u8, &crate::guard::policy::Custom)| {
            let category = Category::Custom(place);
            let side = [Side::Output, Side::Input].into_iter().find(|side| acts(category, *side))?;
            Some(Self {
                id: Arc::clone(&custom.id),
                category,
                side,
                threshold: policy.threshold(category, side, None),
                matches: custom.matches.clone(),
                passes: custom.passes.clone(),
            })
        };
        words.filter_map(trial).collect()
    }

    /// # Errors
    /// [`crate::Kind::Corrupt`] naming the first example that the model sees the other way.
    pub(super) fn run(&self, guard: &LlmGuard) -> Result<()> {
        for (list, wanted) in [(&self.matches, true), (&self.passes, false)] {
            for text in list {
                let control = Control::new(CancelFlag::new(), EACH);
                let mut scores = Scores::default();
                guard.weigh(&Script { side: self.side, turns: &[], spoken: "", text }, &control, &mut scores)?;
                let score = scores.of(self.category);
                if (score >= self.threshold) != wanted {
                    let (id, threshold) = (&self.id, self.threshold);
                    let (list, sees) = if wanted { ("matches", "does not find") } else { ("passes", "finds") };
                    return Err(Error::corrupt(format!(
                        "custom.{id}.{list}: the guard model {sees} {text:?} (score {score:.3}, threshold {threshold}); word the \
                         criteria more clearly or change the threshold"
                    )));
                }
            }
        }
        Ok(())
    }
}
