"""A script in a processor imports another project's: asked over the pipe, while pages go on arriving."""

import time

import msgspec
from tests.support.processors import processor, track_of
from zspider.delivery import End
from zspider.roles.processor.options import IMPORT_WAIT_S
from zspider.task import GET_INFO, ScriptInfo

STAR = "from pyspider.libs.base_handler import *\n"
IMPORTS = STAR + "from projects import other\nclass H(BaseHandler):\n    def page(self): return other.name\n"
LATE = (
    STAR + "class H(BaseHandler):\n    def page(self):\n        from projects.other import name\n        return name\n"
)


def test_pages_that_arrive_while_an_import_waits_are_run_after_it():
    with processor() as worker:
        script, plain = (
            worker.send_script(IMPORTS),
            worker.send_script(STAR + "class H(BaseHandler):\n    def page(self): return 1\n"),
        )
        first = worker.send_page(script)
        assert worker.wants() == "other"
        assert worker.running.page == first
        more = [worker.send_page(plain), worker.send_page(script)]
        worker.send_project("other", "name = 'V1'")
        assert worker.outcome(first).results == [b'"V1"']
        assert [worker.outcome(number).results for number in more] == [[b"1"], [b'"V1"']]
        assert worker.stop() == 0
        assert worker.log == ""


def test_a_script_that_is_loaded_anew_asks_again_and_one_that_is_loaded_does_not():
    with processor() as worker:
        script = worker.send_script(IMPORTS)
        number = worker.send_page(script)
        assert worker.wants() == "other"
        worker.send_project("other", "name = 'V1'")
        assert worker.outcome(number).results == [b'"V1"']
        assert worker.outcome(worker.send_page(script)).results == [b'"V1"']
        number = worker.send_page(worker.send_script(IMPORTS + "# edited\n"))
        assert worker.wants() == "other"
        worker.send_project("other", "name = 'V2'")
        assert worker.outcome(number).results == [b'"V2"']
        assert worker.outcome(worker.send_page(script)).results == [b'"V1"']


def test_a_script_that_lacks_a_project_says_which_and_is_loaded_again_for_the_next_page():
    with processor() as worker:
        script = worker.send_script(IMPORTS)
        number = worker.send_page(script, GET_INFO, taskid=GET_INFO)
        assert worker.wants() == "other"
        worker.send_project("other", None)
        outcome = worker.outcome(number)
        info = msgspec.msgpack.decode(outcome.info, type=ScriptInfo)
        assert info.lacks == "other"
        assert info.error.startswith("ImportError: no project named 'other'")
        number = worker.send_page(script)
        assert worker.wants() == "other"
        worker.send_project("other", "name = 'there'")
        assert worker.outcome(number).results == [b'"there"']


def test_the_clock_of_a_callback_stands_still_while_it_waits_and_the_wait_has_an_end():
    with processor(process_time_limit_s=1) as worker:
        script = worker.send_script(LATE)
        began = time.monotonic()
        number = worker.send_page(script)
        assert worker.wants() == "other"
        outcome = worker.outcome(number)
        assert time.monotonic() - began >= IMPORT_WAIT_S
        assert outcome.end is End.FAILURE
        assert outcome.reason == "ImportError: the master did not answer within 10 s whether it knows project 'other'"
        assert 'File "<demo>", line 4, in page' in track_of(outcome)["process"]["logs"]
        number = worker.send_page(script)
        worker.wants()
        worker.send_project("other", "name = 'now'")
        assert worker.outcome(number).results == [b'"now"']


def test_only_the_main_thread_may_ask():
    body = (
        "class H(BaseHandler):\n    def page(self):\n        import threading\n        said = []\n"
        "        def work():\n"
        "            try:\n                import projects.other\n"
        "            except ImportError as exc: said.append(str(exc))\n"
        "        thread = threading.Thread(target=work)\n        thread.start()\n        thread.join()\n"
        "        return said\n"
    )
    with processor() as worker:
        outcome = worker.outcome(worker.send_page(worker.send_script(STAR + body)))
        assert b"by the main thread only" in outcome.results[0]


def test_a_slave_that_goes_away_ends_the_wait():
    with processor() as worker:
        worker.send_page(worker.send_script(IMPORTS))
        assert worker.wants() == "other"
        worker.pipe.close()
        assert worker.process.wait(IMPORT_WAIT_S / 2) == 0
