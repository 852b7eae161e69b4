"""Provision and switch through the real layers: pcscd, and the kernel's ttys. ``make hil`` runs the full product."""

from esim_bench import data


def outcomes(document) -> dict[str, str]:
    return {slot["slot"]: slot["outcome"] for slot in document["slots"]}


def test_cards_in_readers_of_a_real_pcsc_service(pcsc_lab, in_reader):
    served, real = in_reader("4FF", "iSIM")
    pcsc_lab.start_pcscd(pcsc_lab.start(served)["reader_config"])
    rack = str(pcsc_lab.rack("real", real))
    for scenario in ("provision", "switch"):
        code, document, errors = pcsc_lab.bench("run", scenario, "--rack", rack)
        assert code == 0, errors
        assert outcomes(document) == {"R0": "PASS", "R1": "PASS"}
        assert all(slot["apdus"] > 30 for slot in document["slots"])


def test_one_provision_per_dialect_over_a_pty(lab, behind_modems):
    modules = list(data.module_names())
    served, real = behind_modems(lab.folder, modules)
    lab.start(served)
    code, document, _ = lab.bench("run", "provision", "--rack", str(lab.rack("real", real)), timeout=200)
    found = {modules[int(name[1:])]: outcome for name, outcome in outcomes(document).items()}
    details = {modules[int(slot["slot"][1:])]: slot["steps"][-1]["detail"] for slot in document["slots"]}
    for module in modules:
        expect = data.module(module).expect
        if expect.access == "works":
            assert found[module] == "PASS", (module, details[module])
        else:
            # Never PASS, never a hang: the stated outcome, which names the cause.
            assert found[module] != "PASS"
            assert expect.cause in details[module], (module, details[module])
    assert (code == 0) == (set(found.values()) == {"PASS"})
