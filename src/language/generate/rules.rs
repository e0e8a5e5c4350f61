//! What changes the logits of one text before its next token is chosen.

use super::Generation;
use crate::random::Random;

impl Generation {
    /// Applies the rules on repetition to `scores` of the whole vocabulary, after the tokens
    /// `text`. Logits or log-probabilities: the library that set the rules takes both.
    pub(super) fn restrain(&self, scores: &mut [f64], text: &[u32]) {
        if (self.repetition_penalty - 1.0).abs() > 0.0 {
            let mut seen = text.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(score) = scores.get_mut(token as usize) {
                    let penalty = self.repetition_penalty;
                    *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
                }
            }
        }
        let run = self.no_repeat_ngram;
        if run == 0 || text.len() + 1 < run {
            return;
        }
        let last = &text[text.len() + 1 - run..];
        for window in text.windows(run) {
            if window[..run - 1] == *last
                && let Some(score) = scores.get_mut(window[run - 1] as usize)
            {
                *score = f64::NEG_INFINITY;
            }
        }
    }

    /// The next token by `logits`: the most likely one, or one that is drawn.
    pub(super) fn choose(&self, logits: &[f64], random: &mut Random) -> u32 {
        if self.temperature > 0.0 {
            return self.draw(logits, random);
        }
        let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
        (0..logits.len()).reduce(better).unwrap_or(0) as u32
    }

    fn draw(&self, logits: &[f64], random: &mut Random) -> u32 {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Likely tokens first; of equal ones the first of the vocabulary.
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        order.truncate(self.top_k.unwrap_or(usize::MAX).max(1));
        let top = order.first().map_or(0.0, |&i| logits[i]);
        let weigh = |&i: &usize| ((logits[i] - top) / self.temperature).exp();
        let mut weights: Vec<f64> = order.iter().map(weigh).collect();
        let all: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let enough = weights.iter().position(|weight| {
            sum += weight;
            sum >= self.top_p * all
        });
        if self.top_p < 1.0 {
            weights.truncate(enough.map_or(weights.len(), |last| last + 1));
        }
        let mut left = random.uniform() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a little after the last of them.
        let last = weights.len().saturating_sub(1);
        order.get(drawn.unwrap_or(last)).map_or(0, |&i| i as u32)
    }
}

/// The logarithms of the probabilities of `logits`.
pub(super) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - top).exp()).sum();
    logits.iter().map(|x| x - top - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_tokens_lose_and_repeated_runs_are_out() {
        let options = Generation { repetition_penalty: 2.0, ..Generation::default() };
        let mut scores = [4.0, -4.0, 4.0, -4.0];
        options.restrain(&mut scores, &[0, 1, 1, 9]);
        assert_eq!(scores.map(|x| x as i32), [2, -8, 4, -4]);
        let options = Generation { no_repeat_ngram: 3, ..Generation::default() };
        let banned = |text: &[u32]| {
            let mut scores = [0.0; 4];
            options.restrain(&mut scores, text);
            (0..4).filter(|&i| scores[i] == f64::NEG_INFINITY).collect::<Vec<usize>>()
        };
        assert_eq!(banned(&[1, 2, 3, 1, 2]), [3]);
        assert_eq!(banned(&[1, 2, 3, 1, 2, 0, 1, 2]), [0, 3]);
        assert!(banned(&[1]).is_empty() && banned(&[]).is_empty());
        let once = Generation { no_repeat_ngram: 1, ..Generation::default() };
        let mut scores = [0.0; 3];
        once.restrain(&mut scores, &[1]);
        assert!(scores[1] == f64::NEG_INFINITY && scores[0] + scores[2] == 0.0);
    }

    #[test]
    fn draws_keep_to_the_limits_and_to_the_probabilities() {
        let logits = [1f64.ln(), 4f64.ln(), 2f64.ln(), 3f64.ln()];
        let counts = |options: Generation| {
            let mut random = Random::new(1, &[]);
            let mut counts = [0; 4];
            for _ in 0..10_000 {
                counts[options.choose(&logits, &mut random) as usize] += 1;
            }
            counts
        };
        let warm = || Generation { temperature: 1.0, ..Generation::default() };
        let near = |found: i32, part: f64| (f64::from(found) / 1e4 - part).abs() < 0.02;
        let all = counts(warm());
        assert!((0..4).all(|i| near(all[i], logits[i].exp() / 10.0)), "{all:?}");
        let two = counts(Generation { top_k: Some(2), ..warm() });
        assert!(near(two[1], 4.0 / 7.0) && near(two[3], 3.0 / 7.0), "{two:?}");
        let most = counts(Generation { top_p: 0.71, ..warm() });
        assert!(most[0] == 0 && near(most[2], 2.0 / 9.0), "{most:?}");
        let sharp = counts(Generation { temperature: 0.5, ..warm() });
        assert!(near(sharp[1], 16.0 / 30.0), "{sharp:?}");
        assert_eq!(counts(Generation { top_p: 1e-9, ..warm() }), [0, 10_000, 0, 0]);
        assert_eq!(counts(Generation::default()), [0, 10_000, 0, 0]);
    }
}
