//! Conversations that the guard model holds: what it has read once it does not read again.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::engine::{Context, Decoder, RunControl};
use crate::error::Result;
use crate::guard::check::Control;
use crate::guard::verdict::Side;
use crate::tokenizer::TokenId;

/// Conversations that are kept while nobody judges them.
const MOST_IDLE: usize = 8;
/// A conversation whose last so many ids are not those wanted is still the same one, grown: the end of a text that goes on is
/// cut into other tokens.
const LOOSE_END: usize = 64;

/// A conversation: the prompt's beginning and what was appended.
pub(super) struct Talk {
    context: Context,
    /// What follows the prefix; the context holds the prefix and these.
    ids: Vec<TokenId>,
    prefix: usize,
    side: Side,
}

/// Conversations of any number of sessions over one model. No lock is held while the model computes, so that nobody waits
/// for another's judgement.
pub(super) struct Talks {
    decoder: Arc<Decoder>,
    prefixes: [OnceLock<Context>; 2],
    idle: Mutex<Vec<Talk>>,
    /// Ids that the model was given, without those of questions.
    #[cfg(test)]
    pub(super) computed: std::sync::atomic::AtomicUsize,
}

impl Talks {
    pub(super) fn new(decoder: Arc<Decoder>) -> Self {
        Self {
            decoder,
            prefixes: [OnceLock::new(), OnceLock::new()],
            idle: Mutex::default(),
            #[cfg(test)]
            computed: 0.into(),
        }
    }

    /// A conversation that holds `prefix` and then exactly `ids`; only what no kept one holds is computed.
    pub(super) fn reach(&self, side: Side, prefix: &[TokenId], ids: &[TokenId], control: &Control) -> Result<Talk> {
        let mut talk = match self.nearest(side, ids) {
            Some(talk) => talk,
            None => Talk { context: self.begin(side, prefix, control)?, ids: Vec::new(), prefix: prefix.len(), side },
        };
        let new = ids.get(talk.ids.len()..).unwrap_or_default();
        self.append(&mut talk.context, new, control)?;
        talk.ids.extend_from_slice(new);
        Ok(talk)
    }

    /// Keeps a conversation for the next judgement; the one unused for longest goes when there are too many.
    pub(super) fn keep(&self, talk: Talk) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(talk);
        if idle.len() > MOST_IDLE {
            idle.remove(0);
        }
    }

    fn append(&self, context: &mut Context, ids: &[TokenId], control: &Control) -> Result<()> {
        #[cfg(test)]
        self.computed.fetch_add(ids.len(), std::sync::atomic::Ordering::Relaxed);
        append(&self.decoder, context, ids, control)
    }

    /// The kept conversation that has most of `ids`, cut to what it shares with them. One that `ids` continue is taken; of
    /// another a copy is made, which shares its memory up to where they part.
    fn nearest(&self, side: Side, ids: &[TokenId]) -> Option<Talk> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = |talk: &Talk| talk.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        let of_side = idle.iter().enumerate().filter(|(_, t)| t.side == side);
        let (at, common) = of_side.map(|(i, t)| (i, shared(t))).max_by_key(|(_, n)| *n).filter(|(_, n)| *n > 0)?;
        let found = idle.get(at)?;
        let mut talk = if found.ids.len() - common <= LOOSE_END {
            idle.remove(at)
        } else {
            Talk { context: found.context.fork(), ids: found.ids.clone(), prefix: found.prefix, side }
        };
        drop(idle);
        talk.ids.truncate(common);
        talk.rewind().ok().map(|()| talk)
    }

    /// A conversation in which nothing was said yet.
    fn begin(&self, side: Side, prefix: &[TokenId], control: &Control) -> Result<Context> {
        let slot = match side {
            Side::Input => &self.prefixes[0],
            Side::Output => &self.prefixes[1],
        };
        if let Some(context) = slot.get() {
            return Ok(context.fork());
        }
        let mut context = self.decoder.conversation()?;
        self.append(&mut context, prefix, control)?;
        // Whoever computed it at the same time has computed the same.
        let _ = slot.set(context.fork());
        Ok(context)
    }
}

impl Talk {
    /// The logits after `ids` that follow the conversation. They stay in it until [`Talk::rewind`].
    pub(super) fn ask(&mut self, decoder: &Decoder, ids: &[TokenId], control: &Control) -> Result<Vec<f32>> {
        let last = ids.len().saturating_sub(1) / decoder.batch() * decoder.batch();
        let (most, rest) = ids.split_at_checked(last).unwrap_or((&[], ids));
        append(decoder, &mut self.context, most, control)?;
        control.check()?;
        self.context.feed(rest, &mut RunControl { cancel: control.cancel().clone(), ..RunControl::default() })
    }

    /// Where the context ends, for [`Talk::back_to`].
    pub(super) fn place(&self) -> usize {
        self.context.len()
    }

    /// Forgets what was asked after `place`.
    pub(super) fn back_to(&mut self, place: usize) -> Result<()> {
        self.context.truncate(place)
    }

    /// Forgets everything that was asked.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.context.truncate(self.prefix + self.ids.len())
    }
}

/// Batch after batch, looking at the clock between them.
fn append(decoder: &Decoder, context: &mut Context, ids: &[TokenId], control: &Control) -> Result<()> {
    for batch in ids.chunks(decoder.batch().max(1)) {
        control.check()?;
        context.append(batch, &mut RunControl { cancel: control.cancel().clone(), ..RunControl::default() })?;
    }
    Ok(())
}
