"""PCD-04 messages before hl7apy, by the structure of HL7 v2.6; and broken ones, which it must refuse."""
import argparse, pathlib
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

arguments = argparse.ArgumentParser()
arguments.add_argument("--file", required=True, type=pathlib.Path)
args = arguments.parse_args()


def check(message):
    """hl7apy knows no ORU_R40: IHE PCD TF-2 gives it the segments of ORU_R01, whose structure is asked of it here."""
    assert "|ORU^R40^ORU_R40|" in message
    parsed = parse_message(message.replace("ORU^R40^ORU_R40", "ORU^R01^ORU_R01"), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    parsed.validate()
    return parsed


messages = [message for message in args.file.read_bytes().decode().split("\n") if message]
assert messages and all(message.endswith("\r") for message in messages)
phases = []
for message in messages:
    parsed = check(message)
    order = parsed.ORU_R01_PATIENT_RESULT[0].ORU_R01_ORDER_OBSERVATION[0]
    facets = {o.OBX.obx_4.to_er7().rsplit(".", 1)[1]: o.OBX for o in order.ORU_R01_OBSERVATION}
    assert order.OBR.obr_4.obr_4_1.to_er7() == "196616" and order.OBR.obr_3.to_er7()
    assert sorted(facets) == [str(n) for n in range(1, 9)], sorted(facets)
    assert facets["3"].obx_5.to_er7() in {"start", "continue", "update", "end", "escalate", "de-escalate"}
    assert facets["4"].obx_5.to_er7() in {"active", "inactive", "latched"}
    assert facets["5"].obx_5.to_er7() in {"enabled", "alarm-paused", "alert-acknowledged"}
    assert facets["6"].obx_5.to_er7() in {"PH", "PM", "PL", "PN"} and facets["7"].obx_5.to_er7() in {"SP", "ST", "SA"}
    assert facets["1"].to_er7().split("|")[8] == f"{facets['6'].obx_5.to_er7()}~{facets['7'].obx_5.to_er7()}"
    if order.OBR.obr_29.to_er7() == "":
        assert facets["3"].obx_5.to_er7() == "start"
    phases.append(facets["3"].obx_5.to_er7())
print(f"{len(messages)} messages taken by hl7apy: {', '.join(phases)}")

good = messages[0]
obr = next(line for line in good.split("\r") if line.startswith("OBR"))
broken = [
    good.replace(obr + "\r", ""),
    good.replace("OBR|1|", "XYZ|1|"),
    good.replace('PID|||""|', "PID||||"),
    good.replace("|196616^MDC_EVT_ALARM^MDC|", "||"),
    good.replace("|ORU^R40^ORU_R40|", "|ORU^R40^ORU_R40||").replace("|P|2.6|", "|2.6|"),
    good.replace("OBX|3|ST|68481^MDC_ATTR_EVENT_PHASE^MDC|", "OBX|3|ST||"),
]
for message in broken:
    assert message != good
    try:
        check(message)
    except Exception:  # whatever it says
        continue
    raise AssertionError(f"hl7apy takes it: {message!r}")
print(f"{len(broken)} broken messages refused")
