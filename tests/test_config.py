import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import nucleus.modeling  # noqa: F401  registers the backbones
from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.zoo.files import config_file as config_file_of

CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))


@pytest.fixture(params=["mask_rcnn_R50_FPN.yaml", "quick/mask_rcnn_lite0_FPN.yaml"])
def config_file(request):
    return CONFIGS / request.param


def test_the_configs_are_found():
    assert {"Base-Nucleus.yaml", "cascade_mask_rcnn_R50_FPN.yaml", "quick/demo.yaml"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_loads_and_a_printed_config_reproduces_it(name, tmp_path):
    config_file = CONFIGS / name
    cfg = load_config(config_file)
    (tmp_path / "printed.yaml").write_text(cfg.dump())
    # As JSON, since YAML gives tuples back as lists.
    assert json.dumps(load_config(tmp_path / "printed.yaml")) == json.dumps(cfg)


@pytest.mark.parametrize("name", [name for name in SHIPPED if not name.startswith("Base")])
def test_every_shipped_config_builds_its_model(name):
    """On the meta device: all layers and shapes, without memory or the time of initialising them."""
    cfg = load_config(CONFIGS / name, ["MODEL.DEVICE", "meta", "MODEL.TIMM.WEIGHTS", ""])
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(parameter.numel() for parameter in model.parameters()) > 3e6
    assert list(model.backbone.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]


def test_overrides_win(config_file):
    assert load_config(config_file, ["SOLVER.MAX_ITER", "7"]).SOLVER.MAX_ITER == 7


def test_a_whole_number_is_a_float_where_the_key_is_one(config_file):
    cfg = load_config(config_file, ["TEST.EXPAND", "1", "TEST.BOX_VOTING", "-2", "INPUT.CROP_SIZE", "64"])
    assert (cfg.TEST.EXPAND, cfg.TEST.BOX_VOTING, cfg.INPUT.CROP_SIZE) == (1.0, -2.0, 64)
    assert isinstance(cfg.TEST.EXPAND, float) and isinstance(cfg.INPUT.CROP_SIZE, int)


def test_the_recipe_of_the_model_that_ships_is_its_config():
    """But for where weights come from and go to; trained on as by its second part, which trained the whole model."""
    recipe = load_config(CONFIGS / "zoo" / "lite_plain.yaml", ["MODEL.ROI_MASK_HEAD.SCORING", "True"])
    shipped = load_config(config_file_of("nucleus://lite"))
    for cfg in (recipe, shipped):
        cfg.MODEL.WEIGHTS = cfg.MODEL.TIMM.WEIGHTS = cfg.OUTPUT_DIR = ""
    assert json.dumps(recipe) == json.dumps(shipped)


@pytest.mark.parametrize(("key", "meant"), [("MODEL.TIMM.NAMEE", "MODEL.TIMM.NAME"), ("SOLVER.LR", "SOLVER.BASE_LR")])
def test_a_misspelt_key_gets_a_suggestion(config_file, key, meant):
    with pytest.raises(InputError, match=f"Did you mean {meant}"):
        load_config(config_file, [key, "1"])


def test_a_misspelt_key_in_a_file_gets_a_suggestion(tmp_path):
    (tmp_path / "mine.yaml").write_text("SOLVER:\n  MAX_ITERS: 7\n")
    with pytest.raises(InputError, match=r"mine\.yaml.*Did you mean SOLVER\.MAX_ITER"):
        load_config(tmp_path / "mine.yaml")


def test_a_wrong_type_and_a_missing_file_are_named(config_file, tmp_path):
    with pytest.raises(InputError, match=r"SOLVER\.MAX_ITER"):
        load_config(config_file, ["SOLVER.MAX_ITER", "many"])
    with pytest.raises(InputError, match=r"missing\.yaml"):
        load_config(tmp_path / "missing.yaml")


def test_yaml_runs_no_code(tmp_path):
    witness = tmp_path / "witness"
    (tmp_path / "evil.yaml").write_text(f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{witness}']\n")
    with pytest.raises(InputError, match=r"evil\.yaml"):
        load_config(tmp_path / "evil.yaml")
    assert not witness.exists()


LAUGHS = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LAUGHS, r"at most 100,000 values, found \d\.\d+e\+1[12], as its aliases"),
        ("a: &a [*a]", "an alias of what it stands in"),
        ("[" * 100_000, "nested at most 50 deep"),
        ("{a: " * 60 + "1" + "}" * 60, "nested at most 50 deep"),
        ("SOLVER: {MAX_ITER: '" + "-" * 9_000 + "1'}", "at most 1,000 characters, found one of 9,001"),
        ("#" * (1 << 20) + "\n", "at most 1,048,576 bytes"),
        ("_BASE_: mine.yaml", "one that builds on itself"),
        ("_BASE_: [here/../mine.yaml]", "No such file|builds on itself"),
        ("_BASE_: http://127.0.0.1:9/x.yaml", "files of this machine as _BASE_"),
        ("_BASE_: nowhere.yaml", r"nowhere\.yaml: expected a config file, found No such file"),
        ("_BASE_: [1]", "files of this machine as _BASE_, found 1"),
        ("_BASE_: {a: 1}", "files of this machine as _BASE_"),
        ("- 1", "found no keys"),
        ("word", "found no keys"),
        ("\x00", "a config in YAML"),
        ("!!python/object/apply:os.system ['touch ran']", "a config in YAML"),
        ("SOLVER: !!python/name:os.system", "a config in YAML"),
        ("SOLVER: 3", "values of the types"),
        ("SOLVER: {MAX_ITER: '" + "-" * 999 + "1'}", "values of the types"),
        ("SOLVER: {MAX_ITER: '" + "(" * 999 + "'}", "values of the types"),
        ("1: 2", "values of the types"),
        ("VERSION: x", "values of the types"),
        ("VERSION: 99", "values of the types"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_hostile_files_are_refused(tmp_path, monkeypatch, text, found):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=found):
        load_config(tmp_path / "mine.yaml")
    assert not (tmp_path / "ran").exists()


def test_a_chain_of_files(tmp_path):
    (tmp_path / "0.yaml").write_text("{}")
    for number in range(1, 12):
        (tmp_path / f"{number}.yaml").write_text(f"_BASE_: {number - 1}.yaml\nSOLVER: {{MAX_ITER: {number}}}")
    with pytest.raises(InputError, match=r"0\.yaml: expected at most 10 files that build on one another"):
        load_config(tmp_path / "11.yaml")
    assert load_config(tmp_path / "9.yaml").SOLVER.MAX_ITER == 9
