"""Compiles the script on standard input and says what is wrong with it: run as a file, by `compiling`.

It imports nothing of ours, runs nothing of the script, and the kernel holds it to the limits that it is given.
Exit code 0: it compiles. 3: `LINE TEXT` is on standard output. Anything else: it was too much.
"""

import resource
import sys
import warnings

DOES_NOT_COMPILE = 3
TEXT_CHARS_MAX = 500


def main(memory_bytes: int, cpu_s: int) -> int:
    """Compile standard input, with limits that the kernel enforces; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    warnings.simplefilter("ignore")  # the script's author sees them where it runs
    try:
        text = sys.stdin.buffer.read().decode()
        compile(text, "<script>", "exec", dont_inherit=True)
    except SyntaxError as exc:
        return _tell(exc.lineno or 1, f"{type(exc).__name__}: {exc.msg}")
    except RecursionError:
        return _tell(1, "SyntaxError: nested too deep for Python's compiler")
    except MemoryError:  # of the parser's own stack, or of the limit
        return _tell(1, "SyntaxError: nested too deep, or too large, for Python's compiler")
    except (ValueError, OverflowError) as exc:  # a null byte, a number of too many digits
        return _tell(1, f"SyntaxError: {exc}")
    return 0


def _tell(line: int, text: str) -> int:
    words = " ".join(text.split())[:TEXT_CHARS_MAX]
    sys.stdout.buffer.write(f"{line} {words}".encode("utf-8", "replace"))
    return DOES_NOT_COMPILE


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
