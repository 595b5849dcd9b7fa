# SPDX-License-Identifier: MIT
#
# plot.awk -v title=TEXT: lines "LABEL X Y" become an SVG, one curve for each label, both axes
# logarithmic, because what is interesting is by how much and how fast something grows.

function log10(x)
{
	return log(x) / log(10)
}

function x_of(x)
{
	return 70 + 430 * (log10(x) - x_low) / (x_high - x_low)
}

function y_of(y)
{
	return 330 - 270 * (log10(y) - y_low) / (y_high - y_low)
}

function text(x, y, anchor, what)
{
	printf "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, what
}

function line(x1, y1, x2, y2, colour)
{
	printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour
}

$3 > 0 {
	if (!($1 in n))
		labels[++n_labels] = $1
	i = ++n[$1]
	xs[$1, i] = $2
	ys[$1, i] = $3
	all_x[$2]
	if (!x_max || $2 > x_max) x_max = $2
	if (!x_min || $2 < x_min) x_min = $2
	if (!y_max || $3 > y_max) y_max = $3
	if (!y_min || $3 < y_min) y_min = $3
}

END {
	split("#c02020 #2040a0 #208040 #806000", colours, " ")
	x_low = log10(x_min ? x_min : 1)
	x_high = x_max > x_min ? log10(x_max) : x_low + 1
	y_low = y_min ? int(log10(y_min) + 10) - 10 : 0
	y_high = y_max ? int(log10(y_max) + 11) - 10 : 1
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 380\" font-family=\"sans-serif\" font-size=\"12\">"
	print "<rect width=\"640\" height=\"380\" fill=\"white\"/>"
	text(70, 30, "start", title " (ms)")
	for (power = y_low; power <= y_high; power++) {
		line(70, y_of(10 ^ power), 500, y_of(10 ^ power), "#cccccc")
		text(64, y_of(10 ^ power) + 4, "end", sprintf("%g", 10 ^ power))
	}
	for (x in all_x) {
		line(x_of(x), 330, x_of(x), 335, "black")
		text(x_of(x), 350, "middle", x)
	}
	text(285, 370, "middle", "how many")
	for (l = 1; l <= n_labels; l++) {
		label = labels[l]
		printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colours[l]
		for (i = 1; i <= n[label]; i++)
			printf "%.1f,%.1f ", x_of(xs[label, i]), y_of(ys[label, i])
		print "\"/>"
		# Labels of curves that end at the same height would cover each other.
		printf "<g fill=\"%s\">", colours[l]
		text(506, 50 + 18 * l, "start", label)
		print "</g>"
	}
	print "</svg>"
}
