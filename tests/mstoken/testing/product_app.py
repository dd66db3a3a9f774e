"""An app under test: its routes say who is calling."""

from typing import Annotated

from fastapi import Depends, FastAPI, WebSocket

from mstoken import Caller, ServiceCaller, TokenVerifier, UserCaller
from mstoken.fastapi import allow, protect

app = FastAPI()
protect(app, TokenVerifier("product"))


@app.get("/products")
@app.post("/products")
def products(caller: Annotated[Caller, Depends(allow(users=True, services={"billing"}))]) -> str:
    """Return who is calling."""
    return f"{caller} {caller.role}" if isinstance(caller, UserCaller) else f"{caller} {caller.mode}"


@app.get("/products/{product_id}")
def product(product_id: str, caller: Annotated[ServiceCaller, Depends(allow(services={"billing"}))]) -> str:
    """Return the id, as the app sees it."""
    return product_id


@app.websocket("/changes")
async def changes(websocket: WebSocket, caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> None:
    """Send who is calling."""
    await websocket.accept()
    await websocket.send_text(str(caller))
    await websocket.close()
