"""Label Studio's labelling configuration: what is found in it, and what is refused."""

import pytest

from trainer.serving.label_config import Control, read_label_config
from trainer.serving.limits import Refused

BRUSH = """<View>
  <Header value="&lt;cats&gt;"/>
  <Image name="img" value="$photo" zoom="true"/>
  <PolygonLabels name="poly" toName="img"><Label value="cat"/></PolygonLabels>
  <View><BrushLabels name="tag" toName="img">
  <Label value="Cat" background="green"/><Label value=" dog "/></BrushLabels></View>
</View>"""
POLYGONS = """<View><PolygonLabels name="p" toName="i"><Label value="Kätzchen"/></PolygonLabels>
<Image name="i" value="$image"/></View>"""


def test_brushes_are_taken_first() -> None:
    found = read_label_config(BRUSH, ["cat", "bird", "dog"])
    assert found == Control("brushlabels", "tag", "img", "photo", {"cat": "Cat", "dog": " dog "})


def test_polygons_before_their_image() -> None:
    found = read_label_config(POLYGONS, ["Ka\u0308tzchen"])
    assert found == Control("polygonlabels", "p", "i", "image", {"Ka\u0308tzchen": "Kätzchen"})


REFUSED = {
    "": "not XML",
    "<View><Image": "not XML",
    "<View></View>": "no BrushLabels or PolygonLabels",
    "<View><BrushLabels name='b' toName='i'><Label value='cat'/></BrushLabels></View>": "no BrushLabels",
    BRUSH.replace("$photo", "photo"): "no BrushLabels",
    BRUSH.replace("img", "other", 1): "no BrushLabels",
    BRUSH.replace("Cat", "horse").replace("cat", "horse").replace("dog", "cow"): "the model has cat, dog",
    "<!DOCTYPE v [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><View>&a;</View>": "document type",
    "<!DOCTYPE v SYSTEM 'http://127.0.0.1/x.dtd'><View/>": "document type",
    "<!DOCTYPE v><View/>": "document type",
    f"<View>{' ' * 1_000_000}</View>": "more than",
    "<View>\0</View>": "not XML",
    "<View>\ud800</View>": "no BrushLabels",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text[:30]))
def test_refused(text: str) -> None:
    with pytest.raises(Refused, match=REFUSED[text]) as refused:
        read_label_config(text, ["cat", "dog"])
    assert 400 <= refused.value.status < 500


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(Refused):
        read_label_config("<a>" * 100_000 + "</a>" * 100_000, ["cat"])
