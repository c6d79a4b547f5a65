"""The datasets that tools/prepare_data.py knows, one line each: reader, licence, citation, counts, download page.

Counts are images by split, or in all under "". A dataset's licence binds whoever trains on it or passes it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from iadgpt_jax.data.sources.entry import Entry
from iadgpt_jax.data.sources.readers import (
    anomaly_instruct,
    btad,
    dagm,
    eyecandies,
    folder,
    kolektor_sdd,
    kolektor_sdd2,
    miad,
    mmad,
    mpdd,
    mvtec_ad,
    mvtec_loco,
    real_iad,
    visa,
    visa_dr,
)
from iadgpt_jax.data.sources.tree import Tree


@dataclass(frozen=True)
class Dataset:
    """One line of the table."""

    read: Callable[[Tree], Iterator[Entry]]
    licence: str
    citation: str
    counts: Mapping[str, int] = field(default_factory=dict)  # images by split; {"": total} where only that is published
    page: str = ""
    note: str = ""  # what to know when the counts differ

    @property
    def total(self) -> int | None:
        """Published images; None where nobody published a number."""
        return sum(self.counts.values()) if self.counts else None


ASK = "see the download page"
NC = "CC BY-NC-SA 4.0"

# fmt: off
DATASETS: dict[str, Dataset] = {
    "folder": Dataset(folder.read, "yours", ""),
    "mvtec_ad": Dataset(mvtec_ad.read, NC, "Bergmann et al., MVTec AD, CVPR 2019", {"train": 3629, "test": 1725}, "https://www.mvtec.com/company/research/datasets/mvtec-ad"),  # noqa: E501
    "mvtec_loco": Dataset(mvtec_loco.read, NC, "Bergmann et al., Beyond Dents and Scratches, IJCV 2022", {"train": 1772, "validation": 304, "test": 1568}, "https://www.mvtec.com/company/research/datasets/mvtec-loco"),  # noqa: E501
    "visa": Dataset(visa.read, "CC BY 4.0", "Zou et al., SPot-the-Difference, ECCV 2022", {"train": 8659, "test": 2162}, "https://github.com/amazon-science/spot-diff"),  # noqa: E501
    "real_iad": Dataset(real_iad.read, NC, "Wang et al., Real-IAD, CVPR 2024", {"train": 36465, "test": 114585}, "https://realiad4ad.github.io/Real-IAD/"),  # noqa: E501
    "btad": Dataset(btad.read, ASK, "Mishra et al., VT-ADL, ISIE 2021", {"": 2830}, "http://avires.dimi.uniud.it/papers/btad/btad.zip", note="the paper counts 2,830 images, the archive holds 2,540"),  # noqa: E501
    "dagm": Dataset(dagm.read, ASK, "Wieler and Hahn, DAGM 2007", {"train": 8050, "test": 8050}, "https://zenodo.org/records/12750201", note="papers that count 11,500 images use 1,150 of each of the ten classes"),  # noqa: E501
    "eyecandies": Dataset(eyecandies.read, ASK, "Bonfiglioli et al., Eyecandies, ACCV 2022", {"train": 10000, "validation": 1000, "test": 500}, "https://eyecan-ai.github.io/eyecandies/download", note="papers that count 15,500 images include test_private, whose labels are not published"),  # noqa: E501
    "kolektor_sdd": Dataset(kolektor_sdd.read, NC, "Tabernik et al., Segmentation-based Deep-Learning, JIM 2020", {"train": 399}, "https://www.vicos.si/resources/kolektorsdd/"),  # noqa: E501
    "kolektor_sdd2": Dataset(kolektor_sdd2.read, NC, "Božič et al., Mixed Supervision for Surface-Defect Detection, COMIND 2021", {"train": 2331, "test": 1004}, "https://www.vicos.si/resources/kolektorsdd2/"),  # noqa: E501
    "miad": Dataset(miad.read, ASK, "Bao et al., MIAD, ICCV workshops 2023", {"": 105000}, "https://miad-2022.github.io/"),  # noqa: E501
    "mpdd": Dataset(mpdd.read, ASK, "Jezek et al., MPDD, ICUMT 2021", {"train": 888, "test": 458}, "https://github.com/stepanje/MPDD"),  # noqa: E501
    "anomaly_instruct": Dataset(anomaly_instruct.read, "that of each image's source; " + ASK, "Xu et al., Anomaly-OV, CVPR 2025", {"": 125000}, "https://xujiacong.github.io/Anomaly-OV/", note="125k is the publication's round number of conversations"),  # noqa: E501
    "visa_dr": Dataset(visa_dr.read, "that of VisA for the images; " + ASK, "Xu et al., Anomaly-OV, CVPR 2025", {}, "https://xujiacong.github.io/Anomaly-OV/"),  # noqa: E501
    "mmad": Dataset(mmad.read, "that of each image's source; " + ASK, "Jiang et al., MMAD, ICLR 2025", {"test": 8366}, "https://huggingface.co/datasets/jiang-cc/MMAD", note="templates come on top, in the split train"),  # noqa: E501
}
# fmt: on
