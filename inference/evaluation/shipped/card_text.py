"""The words of the model cards that no measurement changes."""

from inference.training.shipped.sources_bodypart import CAPS

INTRODUCTIONS = {
    "body_part": (
        "Says which of 21 body regions a radiograph shows, so that the node can compare it with "
        "its order; says when an image is none of ours (dental, CT or MR slices, no radiograph) "
        "and whether a chest is a frontal view. **Research use only. Not a medical device.** It "
        "is a check on filing, never on a diagnosis."
    ),
    "chest_findings": (
        "Fourteen findings of ChestX-ray14 on frontal chest radiographs, each with a probability "
        "and a heat map. **Research use only. Not a medical device.** It is trained on a few "
        "thousand images with labels mined from reports and is much weaker than published "
        "networks trained on the full set; findings whose measured quality is too low are not "
        "reported."
    ),
}

LIMITS = {
    "body_part": "\n".join(
        [
            "- One hospital (UNIFESP) gives most regions; limbs, shoulders and spines come from "
            "small public sets with labels that no radiologist checked.",
            "- Of what looks alike few images are taken, drawn by the seed, to learn from as to be "
            f"scored: at most {CAPS['shimplant']} shoulders with implants, {CAPS['cepha']} "
            f"cephalograms and {CAPS['scolio']} spines of a split of the limbs, {CAPS['nih']} NIH "
            f"chests of a split, {CAPS['knee']} knee crops, {CAPS['slice']} hands of 64 pixels and "
            "as many slices of a kind.",
            "- 722 of the training images were read by us, after a hint of version 0.4.0 "
            "(docs/decisions/0020). They are scored nowhere, but the hint may carry a little of "
            "what is scored into training, and whose images they are is not known: some may be of "
            "patients who are scored.",
            "- Photographs and other pictures that are no radiographs are not always called none "
            "of ours; those that are missed mostly get no probable region.",
            "- Clavicle, forearm, lower leg, sinus, skull (beyond lateral cephalograms) and thigh "
            "have few images: their numbers above are rough, and errors there are likely.",
            "- Neighbouring regions (hand and wrist, thoracic and lumbar spine, hip and pelvis) "
            "are labelled unevenly in the sources; the network inherits that.",
            "- *Others* mixes contrast studies, bone densitometry and composites. It is kept in "
            "the audit and never reported: an order cannot name it.",
            "- Upper arms, whole spines in lateral view, babygrams and mammograms are hardly "
            "represented. Expect *uncertain* or a neighbour.",
            "- Nothing says which CT and MR slices are of one examination. Slices of one may lie "
            "in several folds, which flatters *NotOurs*.",
            "- It does not know left from right: images were mirrored in training.",
            "- Swapped images of the *same* region cannot be found by looking at the region.",
        ]
    ),
    "chest_findings": "\n".join(
        [
            "- Labels of NIH ChestX-ray14 were mined from reports by a program: about one in ten "
            "is wrong, and *Pneumonia*, *Infiltration* and *Consolidation* overlap. This holds "
            "for every number above.",
            "- About 2,300 full images train it; *Hernia*, *Fibrosis* and *Emphysema* have "
            "12 to 47 true images among them. Intervals are wide.",
            "- The held-out images are harder than the training images: about a quarter of them "
            "show no finding, against about half of the training images, so a finding must mostly "
            "be told from other findings.",
            "- The images were gathered by several people, each for a purpose of their own; half "
            "of one training collection show pneumonia. On a collection of which no image trains "
            "a network may be weaker (*Subgroups*); that fewer images there show no finding may "
            "be part of it. Cross-validation, where every image is of a collection that trains, "
            "cannot see it. Expect the weaker number elsewhere.",
            "- Images with at most one finding may be known to a network that a member started "
            "from, or that taught it (see *Data*). Wherever they count (all held-out images, "
            "cross-validation, calibration, operating points, reliability, subgroups, comparison, "
            "heat maps) the numbers flatter by an unknown amount.",
            "- A patient of whom a member's start or a teacher knew another image may be among "
            "the unseen; no teacher was asked about them.",
            "- The images are not a natural sample: findings are more frequent here than in a "
            "hospital, so calibrated probabilities read too high in ordinary use, and predictive "
            "values do not carry over.",
            "- Half of every training target is what other networks say: a stronger one, which "
            "answers for some of the images and was trained on the public training split, and a "
            "weaker one, which knows of one finding an image only (see *Data*).",
            "- Frontal views, mostly of adults, of one institution. Too few patients are under 18 "
            "to say how good it is for children; lateral views and detectors of other makers are "
            "untested. The gate keeps other views out.",
            "- It does not know left from right: images were mirrored in training.",
            "- Which findings are reported was decided by the interval on the held-out images, and "
            "so was how far the second member keeps to its start (docs/decisions/0026); the "
            "numbers on them are therefore slightly flattered.",
            "- A heat map shows what moved the score. It is no outline of a lesion; the table "
            "above says how often its peak lies on one.",
        ]
    ),
}
