// The polygon of archetypes with a point to drag: by mouse, by finger, or by the arrow keys.
const SVG = "http://www.w3.org/2000/svg"

function add(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name)
  for (const key in attributes) element.setAttribute(key, attributes[key])
  if (text !== undefined) element.textContent = text
  parent.append(element)
  return element
}

export function render({model}) {
  const [wide, high, low] = [1.75, 1.7, -1.05] // edges of the picture, in units of the polygon's radius
  const svg = document.createElementNS(SVG, "svg")
  const bottom = model.corners.length === 3 ? low : -high
  svg.setAttribute("viewBox", `${-wide} ${-high} ${2 * wide} ${high - bottom}`)
  const at = ([x, y]) => `${x},${-y}` // y points up in the data and down on the screen
  for (const point of model.rows) add(svg, "circle", {cx: point[0], cy: -point[1], r: 0.018, class: "row"})
  add(svg, "polygon", {points: model.corners.map(at).join(" "), class: "hull"})
  model.corners.forEach(([x, y], i) => {
    const out = [1.32 * x, -1.32 * y] // where an archetype is shown: farther out than its corner
    add(svg, "circle", {cx: x, cy: -y, r: 0.035, class: "corner"})
    const picture = model.pictures[i]
    if (picture) add(svg, "image", {x: out[0] - 0.19, y: out[1] - 0.19, width: 0.38, height: 0.38, href: picture})
    const below = !picture ? 0.05 : y > 0.5 ? -0.24 : 0.33
    add(svg, "text", {x: out[0], y: out[1] + below, "text-anchor": "middle"}, model.names[i])
  })
  const handle = add(svg, "circle", {r: 0.085, class: "handle", tabindex: 0, role: "slider"})
  handle.setAttribute("aria-label", "the mixture; move it by the arrow keys")

  function show() {
    handle.setAttribute("cx", model.point[0])
    handle.setAttribute("cy", -model.point[1])
    handle.setAttribute("aria-valuetext", model.told)
  }
  function move(x, y) {
    model.point = [Math.max(-wide, Math.min(wide, x)), Math.max(bottom, Math.min(high, y))]
    show()
  }
  function follow(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse())
    move(place.x, -place.y)
  }
  let held = false
  svg.addEventListener("pointerdown", (event) => {
    held = true
    svg.setPointerCapture(event.pointerId) // so that it follows outside of the picture too
    follow(event)
    handle.focus({preventScroll: true})
    event.preventDefault()
  })
  svg.addEventListener("pointermove", (event) => {
    if (held && event.buttons) follow(event)
  })
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => (held = false))
  handle.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.2 : 0.05
    const ways = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]}
    const way = ways[event.key]
    if (way === undefined) return
    move(model.point[0] + way[0], model.point[1] + way[1])
    event.preventDefault()
  })
  model.on("point", show)
  model.on("told", show)
  show()
  return svg
}
