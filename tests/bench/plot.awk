# SPDX-License-Identifier: MIT
#
# plot.awk -v title=TEXT -v things=TEXT: an SVG of lines "LABEL <tab> X <tab> Y <tab> MIN <tab> MAX", one
# curve for each label with a bar from MIN to MAX at each point. Both axes are logarithmic, because what
# is interesting is by how much and how fast something grows. A label that begins with "limit" is that of
# what cannot be beaten: dashed.

function log10(x)
{
	return log(x) / log(10)
}

function x_of(x)
{
	return 60 + 400 * (log10(x) - x_low) / (x_high - x_low)
}

function y_of(y)
{
	return 330 - 280 * (log10(y) - y_low) / (y_high - y_low)
}

function text(x, y, anchor, what)
{
	printf "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, what
}

function line(x1, y1, x2, y2, colour)
{
	printf "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour
}

# The power of ten below and above.
function floor10(x, power)
{
	power = int(log10(x) + 100) - 100
	return power
}

function curve(l, label, colour, dash, i)
{
	label = labels[l]
	colour = label ~ /^limit/ ? "#555555" : colours[++n_colours]
	dash = label ~ /^limit/ ? " stroke-dasharray=\"6 4\"" : ""
	printf "<g fill=\"none\" stroke=\"%s\">\n<polyline stroke-width=\"2\"%s points=\"", colour, dash
	for (i = 1; i <= n[label]; i++)
		printf "%.1f,%.1f ", x_of(xs[label, i]), y_of(ys[label, i])
	print "\"/>"
	for (i = 1; i <= n[label]; i++) {
		# Bars of curves that run together would cover each other.
		printf "<path stroke-width=\"1\" stroke-opacity=\"0.6\" d=\"M%.1f %.1fV%.1f\"/>\n",
			x_of(xs[label, i]) + (l - n_labels / 2) * 1.5, y_of(lows[label, i]), y_of(highs[label, i])
		printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"/>\n",
			x_of(xs[label, i]), y_of(ys[label, i]), colour
	}
	printf "<path stroke-width=\"2\"%s d=\"M480 %dH504\"/>\n</g>\n", dash, 56 + 20 * l
	text(510, 60 + 20 * l, "start", label)
}

BEGIN {
	FS = "\t"
}

$3 > 0 {
	if ($4 <= 0)
		$4 = $3
	if (!($1 in n))
		labels[++n_labels] = $1
	i = ++n[$1]
	xs[$1, i] = $2
	ys[$1, i] = $3
	lows[$1, i] = $4
	highs[$1, i] = $5
	all_x[$2]
	if (!x_max || $2 > x_max) x_max = $2
	if (!x_min || $2 < x_min) x_min = $2
	if (!y_max || $5 > y_max) y_max = $5
	if (!y_min || $4 < y_min) y_min = $4
}

END {
	# Told apart by people who see few colours, too.
	split("#0072b2 #d55e00 #009e73 #aa4499 #b8860b #000000", colours, " ")
	x_low = log10(x_min ? x_min : 1)
	x_high = x_max > x_min ? log10(x_max) : x_low + 1
	y_low = y_min ? floor10(y_min) : 0
	y_high = y_max ? floor10(y_max * 0.999) + 1 : 1
	if (y_high == y_low) # all points are at the same power of ten
		y_high = y_low + 1
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 385\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">"
	print "<title>" title "</title>"
	print "<rect width=\"720\" height=\"385\" fill=\"white\"/>"
	printf "<text x=\"16\" y=\"26\" font-size=\"14\" font-weight=\"bold\">%s</text>\n", title
	for (power = y_low; power <= y_high; power++) {
		line(60, y_of(10 ^ power), 460, y_of(10 ^ power), "#d0d0d0")
		text(54, y_of(10 ^ power) + 4, "end", sprintf("%.10g", 10 ^ power))
	}
	for (x in all_x) {
		line(x_of(x), 330, x_of(x), 335, "black")
		text(x_of(x), 349, "middle", x)
	}
	text(260, 372, "middle", things)
	for (l = 1; l <= n_labels; l++)
		curve(l)
	print "</svg>"
}
