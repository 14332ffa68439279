"""Settings: limits, dotted names, files."""

import pytest

from semantic_field.config import (
    CompletionConfig,
    Config,
    GridConfig,
    InferenceConfig,
    InputConfig,
    MappingNodeConfig,
    QueryConfig,
    QueryNodeConfig,
    ReplayNodeConfig,
    load_config,
)
from semantic_field.settings import to_dict, updated, walk


def test_dotted_names_round_trip():
    config = Config()
    assert updated(config, to_dict(config)) == config


def test_updated_reaches_nested_settings_and_leaves_the_rest():
    config = updated(Config(), {"field.grid.levels": 5, "query.negatives": ["wall"]})
    assert config.field.grid.levels == 5
    assert config.query.negatives == ("wall",)
    assert config.mapping == Config().mapping


@pytest.mark.parametrize("name", ["levels", "field.grid.level", "field.grid.levels.x"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="expected one of"):
        updated(Config(), {name: 1})


@pytest.mark.parametrize(
    "values", [{"levels": 0}, {"levels": 99}, {"levels": "8"}, {"levels": True}, {"kernels": "x"}]
)
def test_limits_types_and_choices_are_checked(values):
    with pytest.raises(ValueError, match=r"GridConfig\."):
        GridConfig(**values)


def test_whole_numbers_are_fine_for_real_options():
    assert QueryConfig(threshold=1).threshold == 1


def test_every_option_is_documented():
    for settings in (Config(), MappingNodeConfig(), InferenceConfig(), QueryNodeConfig()):
        for name, item, _ in walk(settings):
            assert len(item.metadata["doc"]) > 10, name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"threshold": float("nan")}, "a finite number"),
        ({"standoff_m": float("inf")}, "a finite number"),
        ({"standoff_m": -1.0}, "at least 0.0"),
        ({"threshold": 2.0}, "from 0.01 to 1.0"),
        ({"up": "north"}, r"one of \+z, -z"),
        ({"negatives": None}, "a list of texts"),
        ({"negatives": (1,)}, "a list of texts"),
        ({"max_hits": True}, "a whole number"),
    ],
)
def test_what_is_refused_is_told_with_what_was_expected(values, words):
    with pytest.raises(ValueError, match=words):
        QueryConfig(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"views": -1}, "from 0 to 64"),
        ({"view_pixels": 8}, "from 16 to 1024"),
        ({"rest_s": 61.0}, "from 0.0 to 60.0"),
        ({"answer_parts": "yes"}, "true or false"),
        ({"priors": 3}, "a text"),
    ],
)
def test_limits_of_completions(values, words):
    with pytest.raises(ValueError, match=rf"CompletionConfig\..*{words}"):
        CompletionConfig(**values)


def test_settings_of_completions_are_parameters_of_the_query_node():
    names = {name for name, _, _ in walk(QueryNodeConfig())}
    assert {"completion.priors", "completion.views", "completion.rest_s"} < names
    assert updated(QueryNodeConfig(), {"completion.views": 2}).completion.views == 2


def test_a_text_is_no_list_of_texts():
    with pytest.raises(ValueError, match="a list of texts, got 'wall'"):
        updated(QueryConfig(), {"negatives": "wall"})


def test_fixed_options_say_why():
    fixed = {name: item.metadata["fixed"] for name, item, _ in walk(Config())}
    assert fixed["field.grid.levels"] == fixed["field.voxel_m"] == "the map is made with it"
    assert fixed["language.source"] and not fixed["language.vocabulary"]
    assert not any(reason for name, reason in fixed.items() if name.endswith("_weight"))


def test_a_slash_before_the_global_frame_means_nothing():
    assert InputConfig(global_frame="/map").global_frame == "map"
    with pytest.raises(ValueError, match="name a frame"):
        InputConfig(global_frame="/")


def test_file_overrides_only_what_it_names(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("field:\n  grid: {levels: 4}\nmapping.seed: 7\n")
    config = load_config(path)
    assert (config.field.grid.levels, config.mapping.seed) == (4, 7)
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match="YAML mapping"):
        load_config(path)


ORDERED = [
    ("field.grid.finest_cell_m", 0.7, "field.grid.coarsest_cell_m", 0.64),
    ("field.sharpness_m", 0.03, "field.truncation_m", 0.025),
    ("mapping.min_depth_m", 20.5, "mapping.max_depth_m", 20.0),
]


@pytest.mark.parametrize(("low", "least", "high", "most"), ORDERED)
def test_a_minimum_above_its_maximum_is_refused(low, least, high, most):
    names = low.rpartition(".")[2], high.rpartition(".")[2]
    words = f"{names[0]} to be at most {names[1]}, got .*lower {names[0]} or raise {names[1]}"
    with pytest.raises(ValueError, match=words):
        updated(Config(), {low: least, high: most})
    assert updated(Config(), {low: most, high: most})  # equal ones leave one value


def test_all_ordered_options_are_in_the_table():
    ordered = {name for name, item, _ in walk(Config()) if item.metadata["at_most"]}
    assert ordered == {low for low, *_ in ORDERED}
    for settings in (MappingNodeConfig(), QueryNodeConfig(), ReplayNodeConfig()):
        assert not [name for name, item, _ in walk(settings) if item.metadata["at_most"]]
