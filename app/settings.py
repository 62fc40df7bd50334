"""Every knob, its unit and its default, on one page."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.refusals import Refusal

Words = Annotated[tuple[str, ...], NoDecode]  # comma separated in the environment


class Settings(BaseSettings):
    """Read once, at the root (`main.py`, `cli.py`, `worker/__main__.py`), and handed down.

    Each field is set by the environment variable NEWSBELL_<FIELD>; the README's table is tested against this class.
    """

    model_config = SettingsConfigDict(env_prefix="NEWSBELL_", env_ignore_empty=True, frozen=True, extra="ignore")

    database_url: str = Field(
        "", description="PostgreSQL to use, postgresql://…; empty: an own server in the data folder"
    )
    data_dir: Path = Field(Path("var"), description="folder of the embedded database and the VAPID key")
    site_url: str = Field(
        "http://localhost:8000", description="where readers reach this server, without a trailing slash"
    )
    site_name: str = Field("Newsbell", description="what the pages call the site")
    time_zone: str = Field("UTC", description="the newsroom's, such as Europe/Kyiv, in which the desk names times")
    vapid_private_key_file: Path | None = Field(None, description="PEM file; empty: vapid.pem in the data folder")
    vapid_subject: str = Field(
        "", description="contact that push services see, mailto: or https:; empty: the site's https address"
    )
    welcome: bool = Field(
        False, description="tell new readers at once what they will hear about, which shows that they can be reached"
    )
    push_hosts: Words = Field((), description="extra hosts a subscription may name, comma separated, host or host:port")
    push_ca_file: Path | None = Field(
        None, description="PEM file of certificate authorities for push services; empty: Mozilla's list"
    )
    allow_private_addresses: bool = Field(
        False, description="development and tests only: feeds and push services on private addresses, plain http"
    )
    origins: Words = Field((), description="sites that may embed the prompt, comma separated, https://www.example.com")
    poll_floor: float = Field(
        180.0, gt=0, allow_inf_nan=False, description="seconds between polls of one feed, at least"
    )
    feeds_hourly_limit: int = Field(
        60, ge=1, description="stories of all feeds together that ring by themselves within an hour; more become drafts"
    )
    workers: int = Field(0, ge=0, description="worker processes; 0: one per core")
    oidc_issuer: str = Field(
        "", description="the newsroom's OpenID Connect provider, as it writes its address; empty: no single sign-on"
    )
    oidc_client_id: str = Field("", description="what that provider knows this desk by")
    oidc_client_secret_file: Path | None = Field(
        None, description="file with the secret that it gave for this desk; empty: it wants none"
    )
    oidc_name: str = Field("single sign-on", description="what the desk calls it: Sign in with …")
    oidc_domains: Words = Field(
        (), description="whoever has an address there comes in as a writer, comma separated; empty: editors only"
    )

    two_people_levels: Words = Field(
        (), description="alerts of these levels take a second editor's approval, comma separated: breaking,normal,low"
    )
    two_people_audience: int = Field(
        0, ge=0, description="so do alerts that would ring for that many readers or more; 0: however many"
    )

    @field_validator("push_hosts", "origins", "oidc_domains", "two_people_levels", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(word.strip().rstrip("/").lower() for word in value.split(",") if word.strip())
        return value

    @field_validator("two_people_levels")
    @classmethod
    def _known(cls, levels: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(levels) - {"breaking", "normal", "low"}:
            raise ValueError(f"there is no level {sorted(unknown)[0]}; levels are breaking, normal and low")
        return levels

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("this is not a time zone such as Europe/Kyiv")
        return name

    @field_validator("site_url")
    @classmethod
    def _bare(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s]+", value):
            raise ValueError("this is not an address such as https://alerts.news.example")
        return value.rstrip("/")

    @property
    def vapid_key_file(self) -> Path:
        return self.vapid_private_key_file or self.data_dir / "vapid.pem"

    @property
    def vapid_contact(self) -> str:
        """Push services want something that looks like a public contact; on localhost there is none."""
        site = self.site_url if self.site_url.startswith("https://") else "mailto:operator@newsbell.example"
        return self.vapid_subject or site

    @property
    def poll_every(self) -> timedelta:
        return timedelta(seconds=self.poll_floor)


def read_settings(**changes: Any) -> Settings:
    try:
        return Settings(**changes)
    except ValidationError as error:
        first = error.errors()[0]
        name = "NEWSBELL_" + "_".join(str(part) for part in first["loc"]).upper()
        raise Refusal(f"{name}: {first['msg'].removeprefix('Value error, ')}.") from None


def use_env_file(path: Path) -> None:
    """What the file says goes before the environment that we were started with."""
    from dotenv import dotenv_values

    try:
        with path.open() as file:
            found = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as problem:
        raise Refusal(
            f"--env-file {path} cannot be read: {getattr(problem, 'strerror', None) or 'it is no text'}."
        ) from None
    os.environ.update({name: value for name, value in found.items() if value is not None})
