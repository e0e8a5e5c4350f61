//! Keys and values of the tokens that attention has seen, with room for more.

use candle::Tensor;

use crate::Result;

/// Tokens by which room grows at least.
const BLOCK: usize = 128;

/// What one attention layer remembers of the tokens so far; empty at first.
#[derive(Debug, Default)]
pub struct KeyValues {
    /// Keys and values, (B, Hkv, room, D) each.
    room: Option<(Tensor, Tensor)>,
    len: usize,
}

impl KeyValues {
    /// Tokens seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds keys and values (B, Hkv, N, D) of the next tokens, and gives all so far (B, Hkv, M, D).
    pub(super) fn append(&mut self, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let len = self.len + k.dim(2)?;
        let (keys, values) = match self.room.take() {
            Some(room) if room.0.dim(2)? >= len => room,
            old => {
                let more = room_for(self.len, len);
                (
                    roomy(old.as_ref().map(|old| &old.0), self.len, k, more)?,
                    roomy(old.as_ref().map(|old| &old.1), self.len, v, more)?,
                )
            }
        };
        keys.slice_set(&k.contiguous()?, 2, self.len)?;
        values.slice_set(&v.contiguous()?, 2, self.len)?;
        let all = (keys.narrow(2, 0, len)?, values.narrow(2, 0, len)?);
        (self.room, self.len) = (Some((keys, values)), len);
        Ok(all)
    }

    /// Forgets all tokens after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Keeps `rows` of the batch, in this order; one may come several times.
    pub fn choose(&mut self, rows: &[u32]) -> Result<()> {
        if let Some((keys, values)) = &mut self.room {
            let rows = Tensor::new(rows, keys.device())?;
            *keys = keys.index_select(&rows, 0)?;
            *values = values.index_select(&rows, 0)?;
        }
        Ok(())
    }
}

/// How many tokens there is room for when the `seen` ones become `len` and had no more room.
///
/// Half as much again: copies cost less than the steps that fill the room.
pub(crate) fn room_for(seen: usize, len: usize) -> usize {
    len.max(seen + seen / 2).next_multiple_of(BLOCK)
}

/// Room for `more` tokens like `new`, the first `len` of them as in `old`.
fn roomy(old: Option<&Tensor>, len: usize, new: &Tensor, more: usize) -> Result<Tensor> {
    let (batch, heads, _, dim) = new.dims4()?;
    let room = Tensor::zeros((batch, heads, more, dim), new.dtype(), new.device())?;
    if let Some(old) = old {
        room.slice_set(&old.narrow(2, 0, len)?.contiguous()?, 2, 0)?;
    }
    Ok(room)
}
