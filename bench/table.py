"""The table: one line per figure, with what stood beside it and what was wanted."""
import math


class Line:
    def __init__(self, part, name, value, unit, rounds=(), beside=None, beside_rounds=(),
                 ratio=None, least=None, most=None, of="value"):
        """A target is the least or the most that the value, or the ratio, may be."""
        self.part, self.name, self.value, self.unit = part, name, value, unit
        self.rounds, self.beside, self.beside_rounds = rounds, beside, beside_rounds
        self.ratio = ratio if ratio is not None or not beside else value / beside
        self.least, self.most, self.of = least, most, of

    def judged(self):
        return self.ratio if self.of == "ratio" else self.value

    def target(self):
        if self.least is not None:
            return ">= %s" % show(self.least)
        return "<= %s" % show(self.most) if self.most is not None else ""

    def verdict(self):
        figure = self.judged()
        if self.least is not None:
            return "pass" if figure >= self.least else "MISS by %.0f %%" % math.ceil(100 - 100 * figure / self.least)
        if self.most is not None:
            return "pass" if figure <= self.most else "MISS by %.0f %%" % math.ceil(100 * figure / self.most - 100)
        return ""


HEAD = ("", "somamem", "beside it", "ratio", "target", "")


def show(number):
    if number is None:
        return ""
    if abs(number) >= 100:
        return "{:,.0f}".format(number)
    return "%.3g" % number if abs(number) < 10 else "%.1f" % number


def cells(line):
    return ("%s, %s" % (line.name, line.unit), show(line.value), show(line.beside),
            "%.2f" % line.ratio if line.ratio is not None else "",
            line.target() + (" of it" if line.of == "ratio" and line.target() else ""), line.verdict())


class Table:
    def __init__(self, echo=None):
        self.lines = []
        self.echo = echo

    def add(self, *arguments, **named):
        line = Line(*arguments, **named)
        self.lines.append(line)
        if self.echo:
            self.echo("  " + "  ".join(cell for cell in cells(line) if cell))
        return line

    def text(self):
        rows = [HEAD] + [cells(line) for line in self.lines]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
        out = []
        for row in rows:
            out.append("  ".join(cell.ljust(width) if i in (0, 5) else cell.rjust(width)
                                 for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
        out.insert(1, "-" * max(map(len, out)))
        return "\n".join(out)

    def tsv(self):
        out = ["part\tname\tunit\tvalue\tbeside\tratio\ttarget\ttarget_of\tverdict\trounds\tbeside_rounds"]
        for line in self.lines:
            out.append("\t".join((
                line.part, line.name, line.unit, "%g" % line.value,
                "%g" % line.beside if line.beside is not None else "",
                "%.4f" % line.ratio if line.ratio is not None else "", line.target(), line.of, line.verdict(),
                ",".join("%g" % value for value in line.rounds),
                ",".join("%g" % value for value in line.beside_rounds))))
        return "\n".join(out) + "\n"

    def misses(self):
        return [line for line in self.lines if line.verdict().startswith("MISS")]
