//! Text: tokenizers and text encoders.
