"""Tests of `vlp-jax demo`: what its tabs answer, without a page; then the page, over HTTP."""

import dataclasses
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import vlp_jax
from tests.cli.bad_files import write_bomb
from tests.inference.published import WIDTH, sizes_of, write_weights
from tests.training.tiny import ROOT, command, environment
from vlp_jax.cli.main import build_parser, main
from vlp_jax.cli.web.album import Album
from vlp_jax.cli.web.tabs import answered, left_out, tabs_of
from vlp_jax.data.regions import Regions
from vlp_jax.inference import Caption
from vlp_jax.inference.images import listed

BOMB = "10000 x 10000 pixels, more than the 89,478,485 that are decoded"


@pytest.fixture(scope="module")
def model(run):
    """The run's model, ready for use."""
    return vlp_jax.load(run)


@pytest.fixture
def folder(pictures) -> Path:
    """The folder of the three pictures."""
    return Path(pictures[0]).parent


def published(folder: Path, name: str):
    """A tiny published model of random weights."""
    return vlp_jax.load(name, write_weights(folder, name), sizes=sizes_of(name))


class Halves:
    """Stands for a detector: finds the left and the right half of every picture."""

    feature_width = WIDTH

    def __call__(self, images):
        return [self._of(*image.shape[:2]) for image in listed(images)]

    def _of(self, height: int, width: int) -> Regions:
        boxes = np.float32([[0, 0, width / 2, height], [width / 2, 0, width, height]])
        return Regions(np.eye(2, WIDTH, dtype=np.float32), boxes, width, height)


def named(model, title: str, album: Album | None = None):
    """The tab with a title."""
    return next(tab for tab in tabs_of(model, album) if tab.title == title)


def titles(model, album=None) -> list[str]:
    return [tab.title for tab in tabs_of(model, album)]


def test_there_are_tabs_for_what_the_model_can_do(model, folder):
    assert titles(model) == ["Ask", "Match", "Explain"]
    assert titles(model, Album(folder)) == ["Search", "Ask", "Match", "Explain"]


def test_the_answers_are_those_of_the_model(model, pictures):
    shown, line = answered(model, named(model, "Ask"), pictures[0], "how many?")
    best = model.answer(pictures[0], "how many?", top=5)
    assert list(shown) == [answer.text for answer in best]
    np.testing.assert_allclose(list(shown.values()), [answer.probability for answer in best])
    assert line == f"Of {len(model.answers)} answers it knows."
    shown, _ = answered(model, named(model, "Match"), pictures[0], "a dog")
    chance = model.match(pictures[0], "a dog")[0]
    np.testing.assert_allclose(list(shown.values()), [chance, 1 - chance], rtol=1e-5)


def test_each_word_has_a_map_beside_the_picture(model, pictures):
    shown, line = answered(model, named(model, "Explain"), pictures[0], "a dog face")
    assert [text for _, text in shown] == ["the picture", "a", "dog", "face"]
    assert {picture.size for picture, _ in shown} == {(288, 288)}
    assert "By gradcam" in line and "match with probability 0." in line


def test_a_search_follows_the_folder(model, folder, pictures):
    album = Album(folder, folder / "kept")
    (folder / "text.png").write_text("not a picture")
    shown, line = answered(model, named(model, "Search", album), "a dog")
    assert {text.partition(" · ")[0] for _, text in shown} == {"0.png", "1.png", "2.png"}
    assert line.startswith("The best of 3 pictures; 1 cannot be read. The number is the prob")
    known = album.index(model)
    assert album.index(model) is known
    Path(pictures[0]).rename(folder / "moved.png")
    shown, _ = answered(model, named(model, "Search", album), "a dog")
    assert {text.partition(" · ")[0] for _, text in shown} == {"moved.png", "1.png", "2.png"}
    for picture in folder.glob("*.png"):
        picture.unlink()
    shown, line = answered(model, named(model, "Search", album), "a dog")
    assert shown is None and "holds no pictures: expected files that end in .png" in line


@pytest.mark.parametrize(
    ("picture", "text", "message"),
    [
        (None, "a dog", "Picture: none is given. Choose one first"),
        ("0.png", "", "Text: nothing is written. Write one first"),
        ("0.png", " \n", "Text: nothing is written. Write one first"),
        ("0.png", None, "Text: nothing is written. Write one first"),
        ("0.png", "word " * 10_000, "Text: 50,000 characters are given; the page takes at most"),
        ("0.png", "?!", "expected a string with words in it"),
        ("notes.png", "a dog", '"notes.png" is corrupt, cut short or not a picture'),
        ("empty.png", "a dog", '"empty.png" is empty'),
        ("bomb.png", "a dog", f'"bomb.png" has {BOMB}'),
    ],
)
def test_bad_input_is_one_line(model, folder, picture, text, message):
    (folder / "notes.png").write_text("not a picture")
    (folder / "empty.png").touch()
    write_bomb(folder / "bomb.png")
    shown, line = answered(model, named(model, "Match"), picture and str(folder / picture), text)
    assert shown is None and message in line
    assert "\n" not in line and len(line) < 200 and str(folder) not in line


@pytest.mark.slow
def test_a_model_of_regions_shows_which_one_is_meant(tmp_path, pictures):
    name = "uniter_re"
    file = write_weights(tmp_path, name)
    model = vlp_jax.load(name, file, sizes=sizes_of(name), detector=Halves())
    assert titles(model) == ["Ground", "Explain"]
    ((drawn, text),), line = answered(model, named(model, "Ground"), pictures[0], "the left dog")
    assert text == "the left dog" and line == "The likeliest of 2 regions."
    found = model.ground(cv2.imread(pictures[0])[..., ::-1], "the left dog")
    lit = np.asarray(drawn).astype(int).std(-1).mean(0)  # colours, in each column
    left, right = lit[: lit.size // 2].mean(), lit[lit.size // 2 :].mean()
    assert (left > right) == (found.region == 0)
    shown, _ = answered(model, named(model, "Explain"), pictures[0], "a dog")
    assert [text for _, text in shown] == ["the picture", "a", "dog"]
    assert np.asarray(shown[0][0]).std() > 0  # the picture, not a blank one


def test_captions(model, monkeypatch, pictures):
    monkeypatch.setattr(model, "rules", dataclasses.replace(model.rules, tags=True))
    monkeypatch.setattr(model, "caption", lambda picture: [Caption("a dog", -0.5, (1, 2))])
    assert "Caption" in titles(model)
    assert answered(model, named(model, "Caption"), pictures[0]) == ("a dog", "")


def test_what_does_not_fit_is_told(model):
    entail, compare, ground, caption = left_out(model)
    assert entail.startswith('Entail: entail needs the head "')
    assert compare.startswith('Compare: reason needs the head "')
    assert ground.startswith("Ground: this model chooses among boxes that are given")
    assert caption.startswith("Caption: caption: this model was not trained to write")


def test_models_that_no_tab_fits(model, monkeypatch):
    regions = SimpleNamespace(inputs=SimpleNamespace(reads_regions=True, detector=None))
    with pytest.raises(ValueError, match="this model reads region features: give the detector"):
        tabs_of(regions)

    def refuse(verb):
        raise ValueError(verb)

    monkeypatch.setattr(model, "check_verb", refuse)
    with pytest.raises(ValueError, match="nothing to ask this model; its heads: itc, itm, mlm"):
        tabs_of(model)


@pytest.mark.slow
def test_a_model_of_sentences_and_one_of_two_pictures(tmp_path, folder, pictures):
    entailing, judging = (published(tmp_path, f"albef_{task}") for task in ("ve", "nlvr2"))
    assert titles(entailing) == ["Entail", "Explain"] and titles(judging) == ["Compare"]
    with pytest.raises(ValueError, match='encode_image needs the head "itc"'):
        tabs_of(entailing, Album(folder))
    entail, compare = tabs_of(entailing)[0], tabs_of(judging)[0]
    shown, _ = answered(entailing, entail, pictures[0], "a dog is asleep")
    assert shown == entailing.entail(pictures[0], "a dog is asleep").probabilities
    shown, _ = answered(judging, compare, *pictures[:2], "both show a dog")
    found = judging.reason(tuple(pictures[:2]), "both show a dog")
    assert shown[str(found.true)] == pytest.approx(found.probability)
    assert sum(shown.values()) == pytest.approx(1)
    shown, line = answered(judging, compare, pictures[0], None, "both show a dog")
    assert shown is None and line == "Right picture: none is given. Choose one first"


def test_the_page_of_the_documentation():
    text = (ROOT / "docs" / "demo.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("vlp-jax demo")]
    for line in commands:
        args = build_parser("demo").parse_args(shlex.split(line)[1:])
        assert args.host == "127.0.0.1"
    assert len(commands) == 3
    inputs = SimpleNamespace(reads_regions=True, detector=object())
    every = SimpleNamespace(check_verb=lambda verb: 0, inputs=inputs)
    listed = re.findall(r"^\| ([A-Z]\w+) \|", text, re.MULTILINE)
    assert listed == ["Search", *titles(every)]


def test_without_gradio_the_extra_is_named(folder, monkeypatch, capsys, free_port):
    monkeypatch.setitem(sys.modules, "gradio", None)
    given = ["--model", "nowhere", "--images", str(folder), "--port", str(free_port)]
    assert main(["demo", *given]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'vlp-jax demo: the demo needs the package "gradio": pip install "vlp_jax[demo]"' in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--port", "0"], "--port is 0; expected 1 to 65535"),
        (["--port", "taken"], "Address already in use"),
        (["--host", "nowhere.invalid"], "nothing can be served at --host nowhere.invalid"),
        (["--images", "gone"], "the folder of pictures gone does not exist"),
        (["--images", "none"], "none holds no pictures: expected files that end in .png"),
    ],
)
def test_mistakes_are_one_line(folder, monkeypatch, capsys, free_port, change, message):
    monkeypatch.chdir(folder)
    Path("none").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        change = [port if text == "taken" else text for text in change]
        assert main(["demo", "--model", "nowhere", "--port", str(free_port), *change]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vlp-jax demo: ") and message in line


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def served(run, folder, free_port, tmp_path_factory) -> Iterator[str]:
    """The address of a page that is served; afterwards the server ends well and leaves nothing."""
    pytest.importorskip("gradio")
    temporary = tmp_path_factory.mktemp("temporary")
    log = temporary / "log"
    given = ["--model", run, "--images", folder, "--port", free_port]
    with open(log, "w") as out:
        server = subprocess.Popen(
            command("demo", *given),
            env=environment() | {"TMPDIR": str(temporary)},
            stdout=out,
            stderr=out,
        )
    address = f"http://127.0.0.1:{free_port}"
    try:
        wait_for(address, server, log)
        yield address
        assert server.poll() is None, log.read_text()[-3000:]
        server.terminate()
        assert server.wait(60) == 0
        assert not list(temporary.glob("vlp_jax_demo_*"))
    finally:
        server.kill()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Returns once a page answers."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.slow
def test_the_api_of_the_page(served, folder, pictures):
    from gradio_client import Client, handle_file

    client = Client(served, verbose=False, httpx_kwargs={"timeout": 120})
    ask = lambda *given, tab: client.predict(*given, api_name=f"/{tab}")
    picture = handle_file(pictures[0])
    result, line = ask(picture, "how many?", tab="ask")
    assert len(result["confidences"]) == 5 and "answers it knows" in line
    result, _ = ask(picture, "a dog", tab="match")
    assert sum(x["confidence"] for x in result["confidences"]) == pytest.approx(1)
    result, _ = ask(picture, "a dog", tab="explain")
    assert [x["caption"] for x in result] == ["the picture", "a", "dog"]
    result, line = ask("a dog", tab="search")
    assert len(result) == 3 and "The best of 3 pictures" in line
    (folder / "<b>.png").write_text("not a picture")
    for given, message in (
        ((picture, ""), "nothing is written"),
        ((picture, "word " * 10_000), "50,000 characters"),
        ((None, "a dog"), "none is given"),
        ((handle_file(write_bomb(folder / "bomb.png")), "a dog"), BOMB),
        ((handle_file(folder / "<b>.png"), "a dog"), "not a picture"),
    ):
        for tab in ("match", "explain"):
            result, line = ask(*given, tab=tab)
            assert not result and '<p class="wrong">' in line and message in line
            assert "<b>" not in line
    for file in folder.glob("*.png"):
        file.unlink()
    result, line = ask("a dog", tab="search")
    assert not result and "holds no pictures" in line


@pytest.mark.slow
def test_nobody_reads_other_files_or_sends_large_ones(served, pictures):
    import httpx

    api = f"{served}/gradio_api"
    for path in (pictures[0], "/etc/passwd", "http://127.0.0.1:1/x.png"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = httpx.post(f"{api}/call/match", json={"data": [file, "a dog"]}).json()["event_id"]
        said = httpx.get(f"{api}/call/match/{event}", timeout=120).text
        assert "only a file that has been uploaded is read" in said
        assert httpx.get(f"{api}/file={path}").status_code == 403
    large = httpx.post(f"{api}/upload", files={"files": ("a.png", bytes(21 * 2**20))}, timeout=60)
    assert large.status_code == 413


@pytest.mark.slow
def test_the_page_in_a_browser(served, pictures):
    driver = chromium()
    try:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(driver, 120)
        found = lambda css: [
            x for x in driver.find_elements(By.CSS_SELECTOR, css) if x.is_displayed()
        ]
        driver.get(served)
        tabs = wait.until(lambda _: found("button[role=tab]"))
        assert [tab.text for tab in tabs] == ["Search", "Ask", "Match", "Explain"]
        tabs[2].click()
        wait.until(lambda _: "how probable" in found("div[role=tabpanel]")[0].text)
        panel = found("div[role=tabpanel]")[0]
        button = panel.find_element(By.CSS_SELECTOR, "button.primary")
        button.click()
        wait.until(lambda _: "Picture: none is given. Choose one first" in panel.text)
        panel.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(pictures[0])
        wait.until(lambda _: found("div[role=tabpanel] img"))
        panel.find_element(By.CSS_SELECTOR, "textarea").send_keys("a <b>dog</b>")
        button.click()
        wait.until(lambda _: "describes the picture" in panel.text)
        assert hosts(driver) == {served.removeprefix("http://")}
    finally:
        driver.quit()


def chromium():
    """A headless browser that notes what it loads; skips where there is none."""
    selenium = pytest.importorskip("selenium.webdriver")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("needs chromium and chromedriver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for text in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(text)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    return selenium.Chrome(options=options, service=selenium.ChromeService(driver))


def hosts(driver) -> set[str]:
    """Returns from where the page has loaded anything."""
    noted = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    sent = (
        x["params"]["request"]["url"] for x in noted if x["method"] == "Network.requestWillBeSent"
    )
    return {urllib.parse.urlsplit(url).netloc for url in sent if url.startswith("http")}
