"""The table of regions: its codes, its words, and what a site may lay over it."""

import json
import time
from importlib import resources

import pytest
from pydicom.sr._snomed_dict import mapping as snomed_mapping

from audit.errors import InvalidConfiguration
from inference.manifest import read_manifest
from inference.regions import RegionMap, load_regions

_NOT_IN_ANNEX_L = {"SINUS"}


@pytest.fixture(scope="module")
def table() -> RegionMap:
    return load_regions()


def test_every_region_carries_the_code_and_pairing_of_annex_l(table):
    annex = json.loads(
        resources.files("highdicom").joinpath("_standard/anatomic_regions.json").read_text()
    )

    ours = {
        key: [r.code.scheme, r.code.value, r.code.meaning, r.paired]
        for key, r in table.regions.items()
        if key not in _NOT_IN_ANNEX_L
    }

    assert ours == {key: annex[key] for key in ours}


def test_every_srt_code_is_the_older_form_of_a_snomed_code_of_the_same_region(table):
    for key, region in table.regions.items():
        snomed = {value for scheme, value in region.coded_as if scheme == "SCT"}
        snomed.add(region.code.value)
        for scheme, value in region.coded_as:
            if scheme == "SRT":
                assert snomed_mapping["SRT"][value] in snomed, (key, value)


@pytest.mark.parametrize(
    ("scheme", "value", "region"),
    [
        ("SCT", "816094009", "CHEST"),
        ("SCT", "51185008", "CHEST"),
        ("SRT", "T-D3000", "CHEST"),
        ("SNM3", "T-D3000", "CHEST"),
        ("99SDM", "T-D3000", "CHEST"),
        ("SCT", "64234005", "KNEE"),
        ("SCT", "71341001", "THIGH"),
        ("LN", "816094009", None),
        ("", "", None),
    ],
)
def test_a_code_names_its_region(table, scheme, value, region):
    assert table.region_for_code(scheme, value) == region


def test_the_shipped_network_s_regions_are_all_in_the_table(table):
    folder = resources.files("inference").joinpath("models/bodypart")
    manifest = read_manifest(folder)
    labels = [label for label in manifest.labels if label.role == "region"]

    assert len(labels) > 10
    for label in labels:
        region = table.region_of_label(label.key)
        assert region in table.regions, label.key
        assert label.code.value == table.regions[region].code.value


# What hospitals really write, and what is meant by it.
_DESCRIPTIONS = {
    "XR CHEST PA": "CHEST",
    "CXR 2V": "CHEST",
    "CHEST PORTABLE AP 1 VIEW": "CHEST",
    "Thoraxaufnahme im Stehen": "CHEST",
    "RADIOGRAPHIE THORACIQUE": "CHEST TSPINE",
    "RX TÓRAX PA Y LATERAL": "CHEST",
    "Rx torace 2P": "CHEST",
    "X-thorax": "CHEST",
    "Lungröntgen": "CHEST",
    "RTG klatki piersiowej PA": "CHEST",
    "Рентгенография органов грудной клетки": "CHEST",
    "胸部正面 PA": "CHEST",
    "흉부 후전면": "CHEST",
    "Akciğer grafisi PA": "CHEST",
    "ribs unilat w/ PA chest": "RIB CHEST",
    "Acute abdominal series": "CHEST ABDOMEN",
    "KUB": "ABDOMEN",
    "Abdomen AP/LAT DECUB": "ABDOMEN",
    "ASP debout": "ABDOMEN",
    "C-SPINE": "CSPINE",
    "XR C Spine Comp Min 4 Views": "CSPINE",
    "SPINE, CERVICAL 2-3V": "CSPINE",
    "HWS in 2 Ebenen": "CSPINE",
    "Rachis cervical F+P": "CSPINE",
    "颈椎正侧位": "CSPINE",
    "Thoracic spine 2 views": "TSPINE",
    "BWS": "TSPINE",
    "XR T/L SPINE": "TLSPINE",
    "Lumbosacral spine AP & LAT": "LSSPINE",
    "LWS 2 Eb.": "LSPINE",
    "Coluna lombar AP e perfil": "LSPINE",
    "Scoliosis study": "SPINE",
    "XR SACRUM AND COCCYX": "SSPINE COCCYX",
    "SI JOINTS": "SIJOINT",
    "Beckenübersicht a.p.": "PELVIS",
    "Beckenuebersicht": "PELVIS",
    "Bäcken": "PELVIS",
    "Bekken en heup rechts": "PELVIS HIP",
    "PELVIS WITHOUT HIPS": "PELVIS",
    "HIP JOINT": "HIP",
    "Hüftgelenk li. axial": "HIP",
    "Col du fémur gauche": "HIP",
    "Neck of femur, R": "HIP",
    "FEMUR 2V LT": "THIGH",
    "Knie rechts in 2 Ebenen": "KNEE",
    "GENOU FACE ET PROFIL": "KNEE",
    "knee and lower leg": "KNEE LOWERLEG",
    "Non-ossifying fibroma of distal tibia": "LOWERLEG ANKLE",
    "TIB/FIB LEFT": "LOWERLEG",
    "Sprunggelenk ap/seitl.": "ANKLE",
    "TOBILLO DERECHO": "ANKLE",
    "Foot 3 vws RT wt bearing": "FOOT",
    "Vorfuß dp schräg": "FOOT",
    "Dedo del pie izquierdo": "TOE",
    "CALCANEUS": "CALCANEUS",
    "LOWER EXTREMITY, KNEE": "KNEE",
    "Lower extremity venous": "LOWERLIMB",
    "HAND 2-3V LEFT": "HAND",
    "Handgelenk dorsopalmar": "WRIST",
    "Bone age": "WRIST HAND",
    "2nd digit finger": "FINGER",
    "Daumen links": "THUMB",
    "FOREARM (RADIUS/ULNA)": "FOREARM",
    "Ellenbogen re": "ELBOW",
    "HUMERUS": "UPPERARM",
    "Shoulder complete min 2 views": "SHOULDER",
    "AC JOINTS BILAT W/ WEIGHTS": "ACJOINT",
    "Schädel in 2 Ebenen": "SKULL",
    "PNSINUS": "SINUS",
    "Seios da face": "SINUS",
    "Facial bones, min 3 views": "FACE",
    "ORTHOPANTOMOGRAM": "JAW",
    "NECK SOFT TISSUE LAT": "NECK",
    "Skeletal survey infant": "WHOLEBODY",
    "MODALITYLUT - TEETH": "JAW",
    "손목 양측": "WRIST",
    "el bileği iki yön": "WRIST",
    "XR WHOLE LEG": "LOWERLIMB",
    "leg whole": "LOWERLIMB",
    "XR LEGS, WHOLE, STANDING": "LOWERLIMB",
    "XR LEG FULL LENGTH": "LOWERLIMB",
    "Leg, full": "LOWERLIMB",
    "full leg": "LOWERLIMB",
    "entire leg": "LOWERLIMB",
    "long leg": "LOWERLIMB",
    "XR leg length study": "LOWERLIMB",
    "XR LEG LONG VIEW": "LOWERLIMB",
    "Ganzbein": "LOWERLIMB",
    "ganzes Bein re.": "LOWERLIMB",
    "Bein komplett": "LOWERLIMB",
    "perna inteira": "LOWERLIMB",
    "pierna entera": "LOWERLIMB",
    "gamba intera": "LOWERLIMB",
    "jambe entière": "LOWERLIMB",
    "jambes entières": "LOWERLIMB",
    "gehele been": "LOWERLIMB",
    "hela benet": "LOWERLIMB",
    "XR LEG": "LOWERLEG",
}


@pytest.mark.parametrize(("text", "regions"), _DESCRIPTIONS.items())
def test_what_hospitals_write_is_understood(table, text, regions):
    assert " ".join(table.regions_in_text(text).regions) == regions


@pytest.mark.parametrize(
    "text",
    ["", "No Finding", "e+1", "OTHERS", "hand held device", "head first supine", "Unbekannt",
     "General Hospital", "手术后复查", "WORLD^SERIES", "Observation and Name"],
)  # fmt: skip
def test_text_without_a_body_part_names_none(table, text):
    assert table.regions_in_text(text).regions == ()


@pytest.mark.parametrize(
    "text", ["亜" * 60_000, "膝" * 60_000, "x" * 60_000], ids=["ideographs", "words", "letters"]
)
def test_a_long_run_without_boundaries_is_read_in_no_time(table, text):
    began_s = time.process_time()

    table.regions_in_text(text)

    assert time.process_time() - began_s < 1


def test_matched_words_are_the_table_s_and_never_the_text_s(table):
    match = table.regions_in_text("DOE^JOHN Kniegelenk links 19500101")

    assert match.matched_words == ("knie*",)


def test_a_region_shows_itself_its_parts_and_what_always_contains_it(table):
    assert table.showing("HAND") == {"HAND", "FINGER", "WRIST"}
    assert table.showing("TOE") == {"FOOT"}
    assert table.showing("HIP") == {"HIP", "PELVIS"}
    assert {"HIP", "THIGH", "KNEE", "LOWERLEG", "ANKLE", "FOOT"} <= table.showing("LOWERLIMB")
    assert "CHEST" not in table.showing("EXTREMITY")
    assert table.showing("BREAST") == frozenset()


def test_a_site_adds_words_and_moves_them(tmp_path):
    site = tmp_path / "regions.yaml"
    site.write_text(
        """
        ignore: [lungs]
        regions:
          LOWERLIMB: {words: {xx: [pierna]}}
          KNEE: {words: {xx: [Gelenk 7]}, coded_as: [[99SITE, K1]]}
          WRISTCAST: {name: wrist in plaster, seen_as: [WRIST, FOREARM], words: {xx: [gipsarm]}}
        """,
        encoding="utf-8",
    )

    table = load_regions(site)

    assert table.regions_in_text("gelenk-7 links").regions == ("KNEE",)
    assert table.regions_in_text("knee").regions == ("KNEE",)
    assert table.regions_in_text("lungs").regions == ()
    assert table.regions_in_text("GIPSARM").regions == ("WRISTCAST",)
    assert table.showing("WRISTCAST") == {"WRIST", "FOREARM"}
    assert table.region_for_code("99SITE", "K1") == "KNEE"
    assert table.region_for_code("SCT", "72696002") == "KNEE"
    assert table.name("WRISTCAST") == "wrist in plaster"


def test_the_table_s_hash_tells_one_site_s_table_from_another(table, tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("regions: {KNEE: {words: {en: [knie]}}}")
    first = load_regions(site).sha256
    site.write_text("regions: {KNEE: {words: {en: [knae]}}}")

    assert len({table.sha256, load_regions().sha256, first, load_regions(site).sha256}) == 3
    assert all(len(each) == 64 for each in (table.sha256, first))


def test_a_site_s_word_takes_the_place_of_the_shipped_one(tmp_path):
    site = tmp_path / "regions.yaml"
    site.write_text("regions: {LOWERLIMB: {words: {en: [leg]}}}", encoding="utf-8")

    assert load_regions().regions_in_text("XR LEG").regions == ("LOWERLEG",)
    assert load_regions(site).regions_in_text("XR LEG").regions == ("LOWERLIMB",)


def test_every_problem_of_a_site_s_table_is_told_at_once(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text(
        """
        labels: {Tail: TAIL}
        regions:
          KNEE: {accepts: [KNIGHT], coded_as: [[SCT, "816094009"]], words: {xx: ["--"]}}
          FIN: {seen_as: [FISH]}
        """,
        encoding="utf-8",
    )

    with pytest.raises(InvalidConfiguration) as failure:
        load_regions(site)

    assert failure.value.problems == [
        "labels.Tail: names an unknown region",
        "regions.KNEE.accepts: KNIGHT is not a region",
        "regions.FIN.seen_as: FISH is not a region",
        "regions.KNEE: code ('SCT', '816094009') belongs to CHEST too",
        "regions.KNEE.words.xx: '--' holds no letter",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"regions: {KNEE: {wrods: {en: [x]}}}", "regions.KNEE.wrods"),
        (b"regions: {knee: {}}", "regions.knee"),
        (b"- a\n- b", "valid dictionary"),
        (b"a: [b", "is not YAML"),
        (b"\xff\xfe\xfa", "cannot be read as UTF-8"),
    ],
)
def test_a_table_of_the_wrong_form_is_refused(tmp_path, content, problem):
    site = tmp_path / "site.yaml"
    site.write_bytes(content)

    with pytest.raises(InvalidConfiguration) as failure:
        load_regions(site)

    [told] = failure.value.problems
    assert problem in told
    assert told.startswith("site.yaml: ")


def test_a_missing_table_is_a_configuration_problem(tmp_path):
    with pytest.raises(InvalidConfiguration):
        load_regions(tmp_path / "absent.yaml")


def test_an_empty_table_changes_nothing(tmp_path):
    site = tmp_path / "site.yaml"
    site.write_text("", encoding="utf-8")

    assert load_regions(site).regions == load_regions().regions
