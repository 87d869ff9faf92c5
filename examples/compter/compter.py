"""The service `compter` (French: to count) in Python: counts the lines, words and bytes of a body.

    pip install componentize-py
    componentize-py -d wit -w service componentize -p examples/compter compter -o compter.wasm
    wasmnode deploy compter.wasm        # and `reuse = 100` in [service.compter]: creating an instance is slow
"""
from wit_world import exports


class Handler(exports.Handler):
    def handle(self, request):
        text = b"".join(request.body)
        counts = (text.count(b"\n"), len(text.split()), len(text))
        return ["{} {} {}\n".format(*counts).encode()]
