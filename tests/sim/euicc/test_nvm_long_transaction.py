"""A transaction that stays open across commands, and the writes of others meanwhile."""

import pytest

from esim_drivers.sim.nvm import Nvm, PowerLost


def test_writes_of_others_are_committed_while_it_is_open():
    nvm = Nvm()
    installation = nvm.begin()
    with nvm.within(installation):
        nvm.put("profile/1", b"a")
        assert nvm.get("profile/1") == b"a"
    assert nvm.get("profile/1") is None
    nvm.put("pin", b"tries")
    assert nvm.contents() == {"pin": b"tries"}
    with nvm.within(installation), nvm.transaction():
        nvm.put("profile/2", b"b")
    assert nvm.keys() == ["pin"]
    assert installation.size == len("profile/1a" + "profile/2b")
    installation.commit()
    assert nvm.keys() == ["pin", "profile/1", "profile/2"]
    assert [write.key for write in nvm.journal] == ["profile/1", "pin", "profile/2"]
    assert nvm.journal[0].transaction == nvm.journal[2].transaction != nvm.journal[1].transaction


def test_rollback_leaves_nothing_and_an_exception_inside_leaves_it_open():
    nvm = Nvm()
    nvm.put("kept", b"1")
    installation = nvm.begin()
    with nvm.within(installation):
        nvm.delete("kept")
    with pytest.raises(ValueError, match="stop"), nvm.within(installation):
        raise ValueError("stop")
    with nvm.within(installation):
        assert nvm.get("kept") is None
    installation.rollback()
    assert nvm.contents() == {"kept": b"1"}


@pytest.mark.parametrize("warm", [False, True])
def test_power_ends_it_for_good(warm):
    nvm = Nvm()
    installation = nvm.begin()
    with nvm.within(installation):
        nvm.put("profile/1", b"a")
    if not warm:
        nvm.power_off()
    nvm.power_on()
    with pytest.raises(PowerLost), nvm.within(installation):
        pass
    with pytest.raises(PowerLost):
        installation.commit()
    assert nvm.contents() == {}


def test_the_cut_counts_its_writes():
    nvm = Nvm()
    installation = nvm.begin()
    nvm.cut_before = 1
    with nvm.within(installation):
        nvm.put("profile/1", b"a")
    with pytest.raises(PowerLost), nvm.within(installation):
        nvm.put("profile/2", b"b")
    assert not nvm.powered
    nvm.power_on()
    assert nvm.contents() == {}
    nvm.put("after", b"1")
    assert nvm.contents() == {"after": b"1"}
