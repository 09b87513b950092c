import pickle

from nucleus.errors import InputError


def test_the_message_says_where_what_and_how():
    error = InputError("a.png", expected="8 bits", found="1 bit", remedy="Save it again.")
    assert str(error) == "a.png: expected 8 bits, found 1 bit. Save it again."


def test_it_comes_back_whole_from_a_worker_process():
    error = pickle.loads(pickle.dumps(InputError("a.png", expected="x", found="y", remedy="z")))
    assert (str(error), error.where, error.remedy) == ("a.png: expected x, found y. z", "a.png", "z")
