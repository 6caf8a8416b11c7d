/* Runs in the page: every text that is seen and whose contrast to its ground is below 4.5 : 1. */
export function findFaint()
{
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const faint = [];

	function readColor(css)
	{
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = css;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	}

	function luminance([r, g, b])
	{
		const [x, y, z] = [r, g, b].map((part) => {
			const c = part / 255;
			return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
		});
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	}

	function groundOf(element)
	{
		for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
			const color = readColor(getComputedStyle(at).backgroundColor);
			if (color[3] === 255)
				return color;
		}
		return readColor("Canvas");
	}

	function check(element)
	{
		const ink = luminance(readColor(getComputedStyle(element).color));
		const ground = luminance(groundOf(element));
		const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
		if (ratio < 4.5)
			faint.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
	}

	function walk(root)
	{
		for (const element of root.querySelectorAll("*")) {
			const said = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE &&
				node.data.trim() !== "");
			if (said && element.checkVisibility({ visibilityProperty: true }))
				check(element);
			if (element.shadowRoot !== null)
				walk(element.shadowRoot);
		}
	}

	walk(document.body);
	return faint;
}
