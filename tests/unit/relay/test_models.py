from __future__ import annotations

from typing import Any

import anthropic.types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Model

from infra.bedrock_access import GEOGRAPHIES
from relay import models
from relay.errors import RequestError
from relay.settings import Settings

NOVA = "us.amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/"
SETTINGS = Settings.from_environment(
    {
        "RIVULET_MODEL_IDS": f"{NOVA},{ARN}named,{CLAUDE},{ARN}nameless",
        "RIVULET_MODEL_ALIASES": f"gpt-4o={NOVA},ours={ARN}named,mine={ARN}named",
    }
)
NAMES = ["gpt-4o", "ours", "mine", NOVA, CLAUDE, f"{ARN}nameless"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (NOVA, NOVA),
        (CLAUDE, CLAUDE),
        (f"{ARN}named", f"{ARN}named"),
        ("gpt-4o", NOVA),
        ("ours", f"{ARN}named"),
        ("mine", f"{ARN}named"),
    ],
)
def test_a_model_is_known_by_its_id_and_its_aliases(name: str, model: str) -> None:
    """What the deployment allows, by any of its names; percent-encoded where a path names it."""
    assert models.resolve(name, SETTINGS) == model
    assert models.resolve_encoded(name, SETTINGS) == model
    for encoded in ("".join(f"%{ord(letter):02x}" for letter in name), name.replace(":", "%3A")):
        assert models.resolve_encoded(encoded, SETTINGS) == model


@pytest.mark.parametrize(
    "name", ["", " ", "gpt-4", "GPT-4o", "gpt-4o ", NOVA[3:], f"eu.{CLAUDE}", ARN, "gpt-4o%00"]
)
def test_any_other_is_not_there(name: str) -> None:
    """A 404 that names the field; nothing is guessed, cut off or put before."""
    for resolve in (models.resolve, models.resolve_encoded):
        with pytest.raises(RequestError) as caught:
            resolve(name, SETTINGS)
        assert (caught.value.status, caught.value.code) == (404, "model_not_found")
        assert caught.value.field == "modelId"
        assert caught.value.message.startswith("modelId: expected a model that this deployment all")
    with pytest.raises(RequestError, match="model: expected a model") as caught:
        models.resolve(name, SETTINGS, "model")
    assert caught.value.field == "model"


@given(st.text())
def test_whatever_is_asked_for_is_repeated_in_part_at_most(name: str) -> None:
    """No name makes a message long."""
    try:
        assert models.resolve_encoded(name * 100, SETTINGS) in SETTINGS.model_ids
    except RequestError as error:
        assert len(error.message) < 300  # noqa: PT017  # both ways out are right


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (NOVA, NOVA),
        (CLAUDE, CLAUDE),
        (f"{ARN}named", "ours"),
        (f"{ARN}nameless", f"{ARN}nameless"),
        ("a.stand-in", "a.stand-in"),
    ],
)
def test_an_arn_goes_by_its_first_alias(model: str, name: str) -> None:
    """It has an account's id in it, which is nobody's business; a plain id says itself best."""
    assert models.name_of(model, SETTINGS) == name


def test_every_name_that_is_listed_can_be_used() -> None:
    """The aliases first, then the ids, but for ARNs that an alias stands for."""
    assert models.names(SETTINGS) == NAMES
    for name in NAMES:
        models.resolve(name, SETTINGS)


@pytest.mark.parametrize(
    ("model", "behind"),
    [
        (NOVA, NOVA[3:]),
        (CLAUDE, CLAUDE),
        ("us-gov.anthropic.claude-x", "anthropic.claude-x"),
        ("deepseek.v3.2", "deepseek.v3.2"),
        ("useful.model", "useful.model"),
        (f"{ARN}us.amazon.nova", f"{ARN}us.amazon.nova"),
    ],
)
def test_behind_a_profile_is_its_model(model: str, behind: str) -> None:
    """A geography before the id is taken off, and nothing else is."""
    assert models.foundation_model(model) == behind


def test_every_geography_is_known() -> None:
    """Those that are deployed with are those that are taken off."""
    for geography in GEOGRAPHIES:
        assert models.foundation_model(f"{geography}.{CLAUDE}") == CLAUDE
        assert models.family(f"{geography}.{CLAUDE}") == "anthropic"
        assert models.family(f"{geography}.{NOVA[3:]}") == "amazon.nova"


@pytest.mark.parametrize(
    ("model", "whose"),
    [
        (CLAUDE, "anthropic"),
        (NOVA, "amazon.nova"),
        ("amazon.nova-2-lite-v1:0", "amazon.nova"),
        ("amazon.titan-text-express-v1", "amazon.titan"),
        ("deepseek.v3.2", "deepseek"),
        ("us.deepseek.r1-v1:0", "deepseek"),
        ("openai.gpt-oss-20b-1:0", "openai"),
        ("ai21.jamba-1-5-large-v1:0", "ai21"),
        ("us.meta.llama3-1-8b-instruct-v1:0", "meta"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}", "anthropic"),
        (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{NOVA}", "amazon.nova"),
        (f"{ARN}abc123", ""),
        ("a-model", ""),
        ("", ""),
    ],
)
def test_a_model_tells_whose_it_is(model: str, whose: str) -> None:
    """By its id, behind a geography or an ARN; an application's own profile does not."""
    assert models.family(model) == whose


PROFILES = Settings.from_environment(
    {"RIVULET_MODEL_IDS": f"{ARN}a={NOVA},{ARN}b,{NOVA}", "RIVULET_FALLBACK_MODEL_IDS": CLAUDE}
)
FOUNDATION = "arn:aws:bedrock:us-east-1::foundation-model/"
SYSTEM_DEFINED = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"


@pytest.mark.parametrize(
    ("model", "other", "same", "akin"),
    [
        (NOVA, NOVA[3:], True, True),
        (NOVA, f"{ARN}a", True, True),
        (NOVA, f"{SYSTEM_DEFINED}global.{NOVA[3:]}", True, True),
        (f"{FOUNDATION}{NOVA[3:]}", f"{ARN}a", True, True),
        (NOVA, "amazon.nova-pro-v1:0", False, True),
        (f"{ARN}a", "eu.amazon.nova-pro-v1:0", False, True),
        (NOVA, CLAUDE, False, False),
        (f"{ARN}a", CLAUDE, False, False),
        (f"{ARN}b", NOVA, False, False),
        (f"{ARN}b", f"{ARN}c", False, False),
        (f"{ARN}b", f"{ARN}b", True, True),
    ],
)
def test_models_are_compared_behind_their_profiles(
    model: str, other: str, *, same: bool, akin: bool
) -> None:
    """By what a profile was copied from, and by the id within an ARN; where that is unknown, by the ARN."""
    assert models.is_same(model, other, PROFILES) == models.is_same(other, model, PROFILES) == same
    assert models.is_akin(model, other, PROFILES) == models.is_akin(other, model, PROFILES) == akin


def test_openais_list_is_what_its_client_reads() -> None:
    """Each model is one by the types of the client, strictly."""
    listed: Any = models.openai_list(SETTINGS)
    assert [Model.model_validate(model, strict=True).id for model in listed["data"]] == NAMES


def test_anthropics_list_is_one_page() -> None:
    """From its first to its last."""
    listed: Any = models.anthropic_list(SETTINGS)
    assert [model["id"] for model in listed["data"]] == NAMES
    assert (listed["first_id"], listed["last_id"]) == (NAMES[0], NAMES[-1])
    assert listed["has_more"] is False


def test_anthropics_list_is_what_its_client_reads() -> None:
    """Each model is one by the types of the client."""
    listed: Any = models.anthropic_list(SETTINGS)
    told = [anthropic.types.ModelInfo.model_validate(model).id for model in listed["data"]]
    assert told == NAMES
