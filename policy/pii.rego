# Personal data in text: e-mail addresses and telephone numbers, and nothing else.
#
# Told apart from telephone numbers: bare rows of digits, dates, times with an offset, UUIDs, the
# numbers of orders, cards and versions, amounts and IP addresses.  The extension finds the same.
package soma.policy

# Beyond ASCII, what domains are written with: no punctuation, symbols, white space or emoji.
_beyond_ascii := concat("", [
	`\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1FFF}\x{2C00}-\x{2FFF}\x{3040}-\x{FDFF}\x{FE50}-\x{FEFF}`,
	`\x{FF10}-\x{FF19}\x{FF21}-\x{FFFC}\x{FFFE}-\x{1EFFF}\x{1FB00}-\x{10FFFF}`,
])

# A letter of a top-level domain; a label has digits, too, and hyphens inside.
_letter := concat("", ["A-Za-z", _beyond_ascii])

_alphanumeric := concat("", ["0-9", _letter])

# local@label.label.tld: the local part's last character is enough, and two of the last label.
_address := concat("", [
	"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]@",
	concat(_alphanumeric, ["([", "]([", "-]*[", `])?\.)+`]),
	concat(_letter, ["[", "]{2,}"]),
])

# A plus, and digits with up to three separators before each.
_plus_run := `\+[ .()-]{0,3}[0-9]([ .()-]{0,3}[0-9])*`

# Such a run is a number where it has 8 to 15 digits.
_plus_number := `^[^0-9]*([0-9][^0-9]*){8,15}$`

# Groups of 3, 3 and 4 digits, which are no part of a longer row of groups: a dot or a hyphen
# next to them has no digit on its other side, but for the 1 of a country.
_groups := concat("", [
	`(^|[^0-9.-]|(^|[^0-9])[.-]|(^|[^0-9.-])1[.-])`,
	`\(?[0-9]{3}[ .()-]{1,3}[0-9]{3}[ .()-]{1,3}[0-9]{4}`,
	`($|[^0-9.-]|[.-]($|[^0-9]))`,
])

# METADATA
# title: A text with an e-mail address
_has_pii(content) if {
	is_string(content)
	regex.match(_address, content)
}

# METADATA
# title: A text with a telephone number that begins with a plus
_has_pii(content) if {
	is_string(content)
	some run in regex.find_n(_plus_run, content, -1)
	regex.match(_plus_number, run)
}

# METADATA
# title: A text with a telephone number of three groups
# description: None within what a plus begins, be that a number or too long for one.
_has_pii(content) if {
	is_string(content)
	regex.match(_groups, regex.replace(content, _plus_run, "x"))
}
