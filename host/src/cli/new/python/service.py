"""The service `{{name}}`: returns the request's body in capitals."""
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Failure_Rejected


class Handler(exports.Handler):
    def handle(self, request):
        if not any(request.body):
            raise Err(Failure_Rejected("send some text"))
        return [frame.upper() for frame in request.body]
